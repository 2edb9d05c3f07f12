"""The section of a page about a comparison: everything in it is escaped, and stands there once."""

from lore_jax.reporting.comparison_section import comparison_section
from lore_jax.reporting.page import page


def test_only_comparisons_have_it(results, comparison):
    assert comparison_section(results) == []
    html = "\n".join(comparison_section(comparison))
    assert "Every method: unseen users, new responses, 8 shots" in html
    assert html.count("<img src='data:image/png;base64,") == 3
    assert "there is no &lt;head&gt;" in html
    assert html.count("<section>") == html.count("</section>") == 1


def test_on_the_page_the_other_figures_are_about_one_method(comparison):
    html = page({**comparison, "axes": {}})
    assert html.count("Every method: unseen users") == 1
    assert "Accuracy of every method" in html
    assert html.index("Every method: unseen users") < html.index("Accuracy of every method")
