"""The README: its example runs as it stands, its links lead somewhere, and it stays short."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_twenty_lines_run(capsys):
    code = re.search(
        r"<!-- example -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert code is not None
    exec(compile(code.group(1), "README.md", "exec"), {})
    assert "accuracy 0." in capsys.readouterr().out


def test_it_is_short_and_its_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) > 10
    for link in links:
        assert link.startswith("https://") or (README.parent / link).is_file(), link
