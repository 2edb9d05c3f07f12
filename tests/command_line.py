"""Commands run within the test, over a few comparisons of texts."""

from lore_jax.cli.main import main

ROWS = [
    {"user_id": "ann", "prompt": "Colour?", "chosen": "Blue.", "rejected": "No.", "mood": "good"},
    {"user_id": "böb", "prompt": "Colour?", "chosen": "No.", "rejected": "Blue.", "mood": None},
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "mood": 3},
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "mood": 3},
]
# Run where `ROWS` are pairs.jsonl and table.npy has their embeddings; add `--out`.
PREPARE = ["prepare", "pairs.jsonl", "--embeddings", "table.npy", "--encoder", "eye"]


def run(capsys, *arguments, status=0):
    assert main(list(arguments)) == status
    """What a command prints; on standard error where it fails."""
    printed = capsys.readouterr()
    return printed.out if status != 2 else printed.err
