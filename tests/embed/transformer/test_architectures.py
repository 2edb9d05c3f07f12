"""Architectures are static arguments of jit: equal ones share programs."""

import dataclasses

from lore_jax.embed.transformer.architectures import Encoder


def small_encoder():
    return Encoder(
        name="BertModel",
        vocabulary=90,
        dim=16,
        layers=1,
        heads=2,
        mlp_dim=24,
        activation="gelu",
        norm_eps=1e-12,
        max_length=64,
        pad_id=0,
        positions=64,
        first_position=0,
        types=2,
    )


def test_equal_ones_are_one_key():
    assert hash(small_encoder()) == hash(small_encoder())
    assert (
        len({small_encoder(), small_encoder(), dataclasses.replace(small_encoder(), dim=32)}) == 2
    )
