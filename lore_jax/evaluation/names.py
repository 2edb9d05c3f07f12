"""Names that results, tables and figures share: methods, controls, and the shots reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

GAUSSIAN: Final = "gaussian"
RIDGE_BT: Final = "ridge BT"  # Bradley-Terry with a ridge chosen on validation
REFERENCE_HEAD: Final = "reference head"
ORACLE: Final = "oracle"  # the ground truth of simulated users

Control = Literal["mismatched user", "donor user", "permuted users"]
MISMATCHED_USER: Final = "mismatched user"  # each user scored with another user's weights
DONOR: Final = "donor user"  # each user scored with the weights of the user asked most alike
PERMUTED_USERS: Final = "permuted users"  # everything, fit included, with permuted user labels
CONTROL_LABELS: dict[Control, str] = {
    MISMATCHED_USER: "another user's weights",
    DONOR: "weights of the user asked most alike",
    PERMUTED_USERS: "users permuted",
}

SHOTS: Final = 20  # reported where there is a choice


def nearest_shots(counts: Iterable[int], shots: int = SHOTS) -> int:
    """The number of shots nearest to `shots`, the smaller of two; `shots` itself if there is none.

    Example:
        >>> nearest_shots([0, 5, 15, 40])
        15
    """
    return min(sorted(counts), key=lambda count: abs(count - shots), default=shots)
