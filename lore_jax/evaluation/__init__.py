"""How well a method predicts, beside its controls, and what follows."""
