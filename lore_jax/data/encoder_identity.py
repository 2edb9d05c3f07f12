"""What made a table of embeddings, and whether an encoder of new texts is the same.

Embeddings of another encoder may be as wide by accident, and their scores mean nothing. So what
makes embeddings is written down beside them, as one line of JSON: caches, preferences and models
carry it. What was named by hand has a name alone; what was embedded here has a digest of all files
that an embedding depends on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

# The name of a folder or a repository; where the digest of its files is known, names say no more.
_NAMES = ("model", "revision")


def identity_of(encoder: Mapping[str, object] | None) -> str | None:
    """An encoder's description, as in a cache's manifest, in one line; None: nothing is known.

    Example:
        >>> identity_of({"pooling": "mean", "model": "MiniLM"})
        '{"model": "MiniLM", "pooling": "mean"}'
    """
    return json.dumps(dict(encoder), sort_keys=True) if encoder else None


def differences(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """In what two descriptions of encoders differ, for people; empty: in nothing.

    Example:
        >>> differences({"model": "MiniLM"}, {"model": "MPNet"})
        "model 'MiniLM' (fitted on 'MPNet')"
    """
    return ", ".join(
        f"{name} {found.get(name)!r} (fitted on {expected.get(name)!r})"
        for name in {**found, **expected}
        if found.get(name) != expected.get(name)
    )


def check_encoder(
    encoder: object, expected: str | None, *, name: str = "the encoder", of: str = "the model"
) -> None:
    """Refuses an encoder of which something is known to be another than what a model takes.

    All that the model knows of its encoder must be so of this one; the name need not, where the
    digest of its files is known. An encoder without `describe` has no identity, and passes.

    Args:
        encoder: what is to embed texts; `TextEncoder.describe` reads all its files, once.
        expected: what made the embeddings of the fit, by `identity_of`; None: nobody knows.
        name: what errors call the encoder.
        of: what they call the model.

    Raises:
        ValueError: it is another one; the message says in what.

    Example:
        >>> check_encoder(lambda texts: [[1.0]], '{"model": "MiniLM"}')
    """
    describe = getattr(encoder, "describe", None)
    if expected is None or describe is None:
        return
    known = json.loads(expected)
    told = json.loads(json.dumps(describe(), sort_keys=True))
    names = _NAMES if "sha256" in known else ()
    compared = [field for field in known if field not in names]
    if any(told.get(field) != known[field] for field in compared):
        raise ValueError(f"{name} is another encoder than that of {of}: {differences(told, known)}")
