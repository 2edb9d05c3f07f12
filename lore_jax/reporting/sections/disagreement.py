"""What people disagree about: the axes with their ends, where users lie, and the diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np

from lore_jax.evaluation.diagnostics import diagnostic_lines
from lore_jax.evaluation.schema import AxesEntry, AxisEntry, EndEntry, FeatureEntry, FeaturesEntry
from lore_jax.reporting.html import histogram
from lore_jax.reporting.html import paragraph as p
from lore_jax.reporting.sections.users_map import users_map

_LONGER = {"length": ("longer texts", "shorter texts")}  # other features: more of them, or fewer
_SIDES: dict[Literal["low", "high"], str] = {
    "low": "\u2190 Users on this side favour",
    "high": "Users on this side favour \u2192",
}


def disagreement(data: str, described: AxesEntry) -> list[str]:
    """The axes of disagreement with their ends, the map of users, and the diagnostics.

    Args:
        data: name of the data set.
        described: what results hold of it.

    Returns:
        A section.
    """
    title = "What people disagree about" + (f": {data}" if data else "")
    out = [f"<section><h2>{escape(title)}</h2>"]
    axes = described["axes"]
    if not axes:
        out.append(p("Users do not differ: there is no axis of disagreement."))
    else:
        sizes = f"{described['disagreement']:.2f} logits, beside {described['shared']:.2f}"
        explanation = (
            "People differ along a few axes. Each is shown by the replies that people at its two "
            "ends like more than others do, strongest first. Bars: how many people lie where; the "
            "line among them: where somebody starts who has said nothing yet."
        )
        terms = (
            f"What each user adds to the rewards that all share ({sizes} that are shared), split "
            "into axes that are uncorrelated over users and rotated so that each is about few "
            "responses (varimax). The number beside a response: what a user one standard deviation "
            "along the axis adds to its reward, in logits."
        )
        out += [p(explanation), p(terms, "note")]
        prompts = {end.get("prompt") for axis in axes for side in _SIDES for end in axis[side]}
        users = [user for group in described["groups"].values() for user in group]
        features = described.get("features")
        for k, axis in enumerate(axes):
            bars = histogram(np.array([user[k] for user in users]), described["population"][k])
            side = "The right side goes with"
            goes_with = _goes_with(side, features["axes"][k]) if features else ""
            out += _axis(k, axis, bars + goes_with, name_prompts=len(prompts) > 1)
        if features:
            shared = _goes_with("What all users share goes with", features["population"])
            out += [shared, p(_how_features(features), "note")]
    out.append("<div class='figures'>")
    if axes:
        out += ["<div><h3>Where users lie</h3>", users_map(described), "</div>"]
    if "diagnostics" in described:
        out.append("<div><h3>How much of the fit is in use</h3><ul class='plain'>")
        for line in diagnostic_lines(described["diagnostics"]):
            style = " class='warning'" if line.startswith("warning") else ""
            out.append(f"<li{style}>{escape(line)}</li>")
        out.append("</ul></div>")
    return [*out, "</div></section>"]


def _goes_with(side: str, entries: Sequence[FeatureEntry]) -> str:
    """What one side of a direction surely goes with, in one sentence."""
    if not entries:
        return p(f"{side}: none of the simple features of texts, for sure.", "features")
    words = []
    for entry in entries:
        name = entry["feature"]
        more, fewer = _LONGER.get(name, (f"more {name}", f"fewer {name}"))
        r, low, high = (f"{entry[key]:.2f}" for key in ("correlation", "low", "high"))
        words.append(f"{fewer if entry['high'] < 0 else more} (r {r}, {low} to {high})")
    return p(f"{side} {', '.join(words)}.".replace("-", "\u2212"), "features")


def _how_features(features: FeaturesEntry) -> str:
    return (
        f"r: correlation of rewards with features of the texts, within prompts, over "
        f"{features['responses']:,} responses to {features['prompts']:,} prompts. "
        f"{features['tried']} correlations were looked at; named are those whose interval leaves "
        "out 0, with 95 % for all of them together. A correlation is no cause."
    )


def _axis(k: int, axis: AxisEntry, bars: str, *, name_prompts: bool) -> list[str]:
    share = 100.0 * axis["share"]
    out = [
        f"<article class='axis'><h3>Axis {k + 1} "
        f"<span class='share'>{share:.0f} % of the disagreement</span></h3>",
        f"<div class='bar'><div style='width:{min(share, 100.0):.1f}%'></div></div>",
        bars,
        "<div class='ends'>",
    ]
    for side, label in _SIDES.items():
        ends = [_end(end, name_prompts) for end in axis[side]] or ["<li>nothing</li>"]
        out.append(f"<div class='{side}'><h4>{label}</h4><ul>{''.join(ends)}</ul></div>")
    return [*out, "</div></article>"]


def _end(end: EndEntry, name_prompt: bool) -> str:
    text = escape(end.get("text", f"response in row {end['response']}"))
    prompt = end.get("prompt") if name_prompt else None
    shown_prompt = f"<span class='prompt'>{escape(prompt)}</span>" if prompt else ""
    loading = f"<span class='loading'>{abs(end['loading']):.2f}</span>"
    return f"<li>{shown_prompt}<span class='text'>{text}</span>{loading}</li>"
