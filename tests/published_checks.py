"""Checks that the tests of the experiments on published data share."""

from lore_jax.evaluation.results import read_results


def texts_on_both_sides(drawn, responses):
    """Turns and replies of what is fitted or adapted to that a test has too, by brute force."""

    def texts(*parts):
        rows = {int(row) for part in parts for row in (*part.chosen, *part.rejected)}
        pairs = [responses[row] for row in rows]
        return {reply.strip() for _, reply in pairs} | {
            turn["content"].strip() for prompt, _ in pairs for turn in prompt
        }

    return texts(drawn.train, drawn.shots) & texts(*drawn.tests)


def check_outputs(out, results, methods):
    assert read_results(out / "results.json") == results
    assert list(dict.fromkeys(row["method"] for row in results["rows"])) == methods
    text = (out / "tables.md").read_text()
    assert "SYNTHETIC DATA" in text
    assert (out / "figures" / "shots-new-items.png").stat().st_size > 10_000
    assert results["machine"]["packages"]["jax"]
    return text
