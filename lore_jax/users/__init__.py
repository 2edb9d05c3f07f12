"""Any number of users of a fitted model: adapt, predict, score."""
