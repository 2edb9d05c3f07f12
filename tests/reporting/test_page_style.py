"""The style loads nothing, and speaks of what the page holds."""

import re

from lore_jax.reporting.page import page
from lore_jax.reporting.page_style import POLICY, STYLE


def test_nothing_is_loaded_or_run():
    assert POLICY.startswith("default-src 'none'")
    assert "script-src" not in POLICY
    assert not re.search(r"url\(|@import|expression\(|</", STYLE)


def test_braces_close_and_every_variable_is_defined_and_used():
    assert STYLE.count("{") == STYLE.count("}")
    defined = set(re.findall(r"(--[a-z]+):", STYLE))
    assert defined == set(re.findall(r"var\((--[a-z]+)\)", STYLE))


def test_what_a_page_gives_a_style_to_has_one(results):
    body = page({**results, "axes": {}}, note="A note.").split("</style>")[1]
    styled = {name for names in re.findall(r"class='([a-z ]+)'", body) for name in names.split()}
    # A conclusion that is not "yes" stays as it is.
    assert styled - {"no"} <= set(re.findall(r"\.([a-z]+)", STYLE))
