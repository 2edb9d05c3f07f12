"""The field's other methods for personal rewards, each behind the same contract."""
