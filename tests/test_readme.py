"""The README's example runs as it stands."""

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
