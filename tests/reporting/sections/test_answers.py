"""The section of answers: a table for each condition, what is known of it alone."""

from answer_results import answer_results

from lore_jax.reporting.sections.answers import answers


def test_a_table_for_each_condition():
    text = "".join(answers(answer_results(), "gaussian"))
    assert text.startswith("<section><h2>What people said, answer by answer</h2>")
    assert text.count("Unseen users after 20 answers, new prompts, by what was said") == 2
    assert text.endswith("</section>")
