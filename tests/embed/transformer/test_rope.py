"""Rotary frequencies and the rotation, against their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.embed.transformer.rope import Rope, read_rope, rotate


def test_llama3_frequencies_against_their_definition():
    rope = Rope(500.0, "llama3", 8.0, 1.0, 4.0, 64)
    plain = Rope(500.0).frequencies(32).astype(np.float64)
    wavelength = 2 * np.pi / plain
    scaled = rope.frequencies(32)
    short, long = wavelength < 64 / 4, wavelength > 64 / 1
    assert short.any()
    assert long.any()
    assert (~short & ~long).any()
    np.testing.assert_allclose(scaled[short], plain[short], rtol=1e-6)
    np.testing.assert_allclose(scaled[long], plain[long] / 8, rtol=1e-6)
    between = ~short & ~long
    smooth = (64 / wavelength[between] - 1) / (4 - 1)
    np.testing.assert_allclose(
        scaled[between], (1 - smooth) * plain[between] / 8 + smooth * plain[between], rtol=1e-6
    )


def test_rope_fields_of_both_spellings():
    assert read_rope({}, 1e4, "config.json") == Rope(1e4)
    assert read_rope({"rope_type": "default", "rope_theta": 5.0}, 1e4, "config.json") == Rope(5.0)
    assert read_rope({"type": "linear", "factor": 2}, 1e4, "config.json") == Rope(
        1e4, "linear", 2.0
    )
    with pytest.raises(ValueError, match="rotates a part of each head only"):
        read_rope({"partial_rotary_factor": 0.5}, 1e4, "config.json")


def test_pairs_of_dimensions_turn_by_the_angle():
    rng = np.random.default_rng(0)
    x, angle = rng.normal(size=(2, 5, 3, 8)), rng.normal(size=(2, 5, 4))
    turned = np.asarray(rotate(jnp.asarray(x, jnp.float32), jnp.asarray(angle, jnp.float32)))
    expected = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angle)[:, :, None]
    np.testing.assert_allclose(turned[..., :4] + 1j * turned[..., 4:], expected, atol=1e-6)
