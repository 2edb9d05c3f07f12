"""`lore-jax demo`: everything at once, on simulated users."""

from __future__ import annotations

from typing import Any

from lore_jax.demo import DemoConfig as Config
from lore_jax.demo import demo as run

__all__ = ["Config", "lines", "run"]


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    users = result["users"]
    return [
        f"Fitted {result['pairs']:,} pairs of {users['seen']:,} simulated users; {users['unseen']:,} more are adapted to.",
        "Accuracy in %, macro over users (95 % interval):",
        "",
        *result["table"].splitlines(),
        "",
        f"{result['verdict']['sentence']}.",
        "",
        f"Saved {result['results']}",
        *(f"Saved {path}" for path in result["figures"]),
    ]
