"""Notebooks: cells are rewritten in place, and nothing else of the file changes."""

# ruff: noqa: E501 -- one row a case

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate import moves_file
from migrate.edits import apply
from migrate.imports.context import Context
from migrate.imports.text.notebook import rewrite

MOVES = moves_file.parse(
    """
    version: 1
    moves:
      - {old: bem, new: bem_legacy, kind: module}
      - {old: bem2.Config, new: "bem_core.config:Config", kind: symbol}
    """,
    "moves.yaml",
)


def code(*lines: str, **fields: Any) -> dict[str, Any]:
    """Return a code cell whose source is a list of lines."""
    outputs = [{"output_type": "stream", "text": ["bem.x.Y import bem\n"]}]
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {"bem.x": 1}, "outputs": outputs}
    return {**cell, "source": [*(f"{line}\n" for line in lines[:-1]), *lines[-1:]], **fields}


def notebook(*cells: dict[str, Any], language: str = "python", **dump: Any) -> str:
    """Return the text of a notebook as Jupyter writes it."""
    metadata = {"kernelspec": {"language": language, "name": "bem.x"}, "language_info": {"name": language}}
    whole = {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, **{"indent": 1, "ensure_ascii": False, **dump}) + "\n"


def check(text: str) -> tuple[list[str], list[str]]:
    """Rewrite twice; return the sources and the codes of the findings of the first time."""
    ctx = Context("a.ipynb", MOVES)
    result = rewrite(text, ctx)
    after = apply(text, result.edits)
    assert rewrite(after, ctx).edits == []
    old, new = json.loads(text), json.loads(after)
    sources = ["".join(cell.pop("source")) for cell in new["cells"]]
    for cell in old["cells"]:
        del cell["source"]
    assert new == old
    return sources, [f"{finding.line}:{finding.code}" for finding in result.findings]


@pytest.mark.parametrize("dump", [{}, {"indent": None}, {"indent": "\t"}, {"ensure_ascii": True}], ids=str)
def test_cells_are_one_program(dump: dict[str, Any]) -> None:
    text = notebook(
        code("import bem.x", "from bem2 import Config, other  # é \U0001f600"),
        code("# bem", "print('a\\n\"')", "bem.x.f(Config)"),
        code("bem.x.g()", source='bem.x.g("é")\nx = 1'),
        **dump,
    )
    sources, findings = check(text)
    assert findings == []
    assert sources[0].startswith("import bem_legacy.x\nfrom bem_core.config import Config\nfrom bem2 import other")
    assert sources[1:] == ["# bem\nprint('a\\n\"')\nbem_legacy.x.f(Config)", 'bem_legacy.x.g("é")\nx = 1']


def test_lists_of_lines_stay_lists_of_lines() -> None:
    text = notebook(code("from bem2 import Config, other", "x"))
    after = apply(text, rewrite(text, Context("a.ipynb", MOVES)).edits)
    assert json.loads(after)["cells"][0]["source"] == [
        "from bem_core.config import Config\n",
        "from bem2 import other\n",
        "x",
    ]
    assert '    "from bem_core.config import Config\\n",\n    "from bem2 import other\\n",\n    "x"' in after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(["%load_ext bem.x", "import bem.y"], "%load_ext bem_legacy.x\nimport bem_legacy.y", id="extension"),
        pytest.param(["!python -m bem.x \\", "  --a", "import bem.y"], "!python -m bem_legacy.x \\\n  --a\nimport bem_legacy.y", id="command"),
        pytest.param(["x = !python -m bem.x", "x"], "x = !python -m bem_legacy.x\nx", id="command with a result"),
        pytest.param(["%run -m bem.x --a"], "%run -m bem_legacy.x --a", id="run"),
        pytest.param(["%%time", "import bem.x"], "%%time\nimport bem_legacy.x", id="cell magic"),
        pytest.param(["import bem.x", "%timeit bem.x.f()", "bem.x.f?"], "import bem_legacy.x\n%timeit bem_legacy.x.f()\nbem_legacy.x.f?", id="magics with code"),
        pytest.param(["%%bash", "python -m bem.x"], "%%bash\npython -m bem_legacy.x", id="shell cell"),
        pytest.param(["%%writefile a.py", "import bem.x"], "%%writefile a.py\nimport bem_legacy.x", id="written file"),
        pytest.param(["if 1:", "    !ls bem", "    import bem.x"], "if 1:\n    !ls bem\n    import bem_legacy.x", id="command in a block"),
        pytest.param(["import bem", "await bem.x.f()"], "import bem_legacy as bem\nawait bem.x.f()", id="await"),
    ],
)  # fmt: skip
def test_changes(before: list[str], after: str) -> None:
    assert check(notebook(code(*before))) == ([after], [])


@pytest.mark.parametrize(
    ("cell", "findings"),
    [
        pytest.param(code("x = 'bem'", "# bem"), [], id="strings"),
        pytest.param(code("!pip install bem"), [], id="distribution"),
        pytest.param(code("%matplotlib inline", "%env NAME=bem"), [], id="other magics"),
        pytest.param(code("%%html", "<b>bem.x</b>"), [], id="other language"),
        pytest.param(code("def (", "bem.x"), ["18:BM108"], id="broken"),
        pytest.param(code("def ("), [], id="broken without names"),
        pytest.param(code("bem = 1", "bem.real"), [], id="local name"),
        pytest.param({"cell_type": "markdown", "metadata": {}, "source": "# bem and `bem.x`"}, ["6:BM105"], id="prose"),
        pytest.param({"cell_type": "raw", "metadata": {}, "source": "import bem.x"}, [], id="raw"),
        pytest.param(code(source=""), [], id="empty"),
        pytest.param(code(), [], id="no lines"),
    ],
)  # fmt: skip
def test_stays(cell: dict[str, Any], findings: list[str]) -> None:
    assert check(notebook(cell)) == (["".join(cell["source"])], findings)


def test_a_broken_cell_leaves_the_others() -> None:
    sources, findings = check(notebook(code("import bem.x"), code("a b", "bem.x"), code("bem.x.f()")))
    assert sources == ["import bem_legacy.x", "a b\nbem.x", "bem_legacy.x.f()"]
    assert [finding.partition(":")[2] for finding in findings] == ["BM108"]


def test_other_kernels_are_skipped() -> None:
    assert check(notebook(code("import bem.x"), language="julia")) == (["import bem.x"], [])


def test_markdown_cells() -> None:
    cell = {"cell_type": "markdown", "metadata": {}, "source": ["```python\n", "import bem.x\n", "```"]}
    assert check(notebook(cell)) == (["```python\nimport bem_legacy.x\n```"], [])


def test_format_3() -> None:
    sheet = {"cells": [{"cell_type": "code", "input": ["import bem.x\n", "bem.x.f()"], "language": "python"}]}
    text = json.dumps({"nbformat": 3, "worksheets": [sheet]})
    after = apply(text, rewrite(text, Context("a.ipynb", MOVES)).edits)
    assert after == text.replace("bem.x", "bem_legacy.x")


@pytest.mark.parametrize("text", ['{"cells": [', "import bem.x", '["import bem.x"]'], ids=["cut off", "python", "list"])
def test_a_file_that_is_no_notebook(text: str) -> None:
    result = rewrite(text, Context("a.ipynb", MOVES))
    assert result.edits == []
    assert {finding.code for finding in result.findings} <= {"BM108"}


LINES = st.sampled_from(
    [
        "import bem.x",
        "from bem2 import Config, a",
        "f('é\\n')",
        "!ls",
        "%%bash",
        "x?",
        "(",
        ")",
        "",
        "# \u2028",
        '"""',
        "  x",
    ]
)


@given(st.lists(st.lists(LINES, max_size=4), max_size=4), st.booleans(), st.sampled_from([None, 1]), st.booleans())
def test_everything_but_sources_stays(
    cells: list[list[str]], ascii_only: bool, indent: int | None, joined: bool
) -> None:
    made = [code(*lines, **({"source": "\n".join(lines)} if joined else {})) for lines in cells]
    sources, _ = check(notebook(*made, ensure_ascii=ascii_only, indent=indent))
    for lines, source in zip(cells, sources, strict=True):
        back = source.replace("bem_legacy", "bem")
        back = back.replace("from bem_core.config import Config\nfrom bem2 import a", "from bem2 import Config, a")
        assert back == "\n".join(lines)
