"""What the settings of methods are refused for."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_STEPS = 2**31 - 1  # counted in 32 bits
_WIDEST = 65_536  # layer of a basis, the last one with its columns included


def check_positive(config: object, *names: str) -> None:
    """Raises a ValueError if one of these fields is neither None nor finite and above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}: a positive number is expected")
        if name == "steps" and value is not None and value > _MOST_STEPS:
            raise ValueError(f"steps is {value}: at most {_MOST_STEPS:,} are expected")


def check_at_least(config: object, least: int, *names: str) -> None:
    """Raises a ValueError if one of these fields is below `least`."""
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} is {getattr(config, name)}: {least} or more is expected")


def check_rank(rank: int | None) -> None:
    """Raises a ValueError if a rank is given that no basis has."""
    if rank is not None and rank < 1:
        raise ValueError(f"rank is {rank}: 1 or more is expected")
    if rank is not None and rank > _WIDEST:
        raise ValueError(f"rank is {rank}: at most {_WIDEST:,} is expected")


def check_hidden(hidden: Sequence[int]) -> None:
    """Raises a ValueError if a width of a hidden layer is not one."""
    for width in hidden:
        if not 1 <= width <= _WIDEST:
            raise ValueError(f"hidden holds {width}: widths of 1 to {_WIDEST:,} are expected")


def possible_ranks(
    rank: int | None, candidates: Sequence[int], dim: int, hidden: Sequence[int]
) -> list[int]:
    """The rank that is given, or the candidates that embeddings of this dim can have.

    Args:
        rank: what is given, or None.
        candidates: what validation may choose from.
        dim: of the embeddings.
        hidden: widths of the basis' hidden layers, behind which any rank is possible.

    Returns:
        The ranks to choose from.

    Raises:
        ValueError: a linear basis cannot have the rank that is given.
    """
    if hidden:
        return list(candidates if rank is None else (rank,))
    if rank is not None and rank > dim:
        raise ValueError(f"rank is {rank}: 1 to {dim}, the dim of the embeddings, is expected")
    return [each for each in (candidates if rank is None else (rank,)) if each <= dim]
