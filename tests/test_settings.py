"""`[tool.bem-migrate]` of a pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

from bem_core.errors import ConfigError
from migrate.settings import Settings, load_settings

KINDS = ("py", "ipynb", "md", "yaml")


def write(root: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    (root / "pyproject.toml").write_bytes(data)
    return root


def problems(root: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(root, KINDS)
    prefix = str(root / "pyproject.toml")
    lines = str(caught.value).split("\n")
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[project]\nname = 'x'\n", id="other tables"),
        pytest.param("[tool.other]\nmapping = 1\n", id="another tool"),
        pytest.param("[tool.bem-migrate]\n", id="empty table"),
        pytest.param("[project]\ndependencies = ['bem-migrate']\n", id="only named as a dependency"),
        pytest.param("tool = 'bem-migrate'\n", id="no table of tools"),
        pytest.param("not toml, and none of our business", id="broken file of another tool"),
    ],
)
def test_defaults(tmp_path: Path, text: str) -> None:
    assert load_settings(write(tmp_path, text), KINDS) == Settings()


def test_no_file(tmp_path: Path) -> None:
    assert load_settings(tmp_path, KINDS) == Settings()
    assert load_settings(tmp_path / "missing", KINDS) == Settings()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "head",
    [
        pytest.param("[tool.bem-migrate]\n", id="plain"),
        pytest.param('[ tool . "bem-migrate" ]  # ours\r\n', id="quoted, CRLF"),
        pytest.param("[tool]\nx = 1\n[tool.bem-migrate]\n", id="after its parent"),
    ],
)
def test_every_key(tmp_path: Path, head: str, encoding: str) -> None:
    (tmp_path / "moves.yaml").write_text("{}")
    (tmp_path / "src").mkdir()
    body = """
mapping = "moves.yaml"
source-roots = ["src", "."]
include = ["*.py"]
exclude = ["old/**"]
kinds = ["py", "md"]
ignore = ["BM105"]
logger-names = true
"""
    write(tmp_path, (head + body).encode(encoding))
    assert load_settings(tmp_path, KINDS) == Settings(
        mapping=tmp_path / "moves.yaml",
        source_roots=(tmp_path / "src", tmp_path),
        include=("*.py",),
        exclude=("old/**",),
        kinds=("py", "md"),
        ignore=("BM105",),
        logger_names=True,
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("maping = 'x'", ("unknown key", "did you mean 'mapping'?"), id="unknown key"),
        pytest.param("source_roots = ['.']", ("did you mean 'source-roots'?",), id="underscore"),
        pytest.param("mapping = 3", ("mapping: is a number (3)", "expected the path"), id="mapping: type"),
        pytest.param("mapping = ''", ("mapping: is empty",), id="mapping: empty"),
        pytest.param("mapping = 'gone.yaml'", ("mapping: no file", "gone.yaml"), id="mapping: no file"),
        pytest.param("mapping = '.'", ("mapping: no file",), id="mapping: a folder"),
        pytest.param(f"mapping = '{'x' * 5000}'", ("mapping: no file",), id="mapping: name too long"),
        pytest.param('mapping = "a\\u0000b"', ("mapping: no file",), id="mapping: null character"),
        pytest.param("source-roots = '.'", ("is a string", "did you mean ['.']?"), id="string for a list"),
        pytest.param("source-roots = ['gone']", ("source-roots: no folder", "gone"), id="source root: no folder"),
        pytest.param("include = [1, 'a']", ("include: item 1 is a number (1)",), id="item: type"),
        pytest.param("exclude = ['a', '']", ("exclude: item 2 is empty",), id="item: empty"),
        pytest.param("kinds = ['pyy']", ("unknown name 'pyy'", "py, ipynb", "did you mean 'py'?"), id="kind"),
        pytest.param("ignore = ['BM1O5']", ("unknown name 'BM1O5'", "did you mean 'BM105'?"), id="code"),
        pytest.param("logger-names = 1", ("is a number (1)", "true or false"), id="boolean: number"),
        pytest.param("logger-names = 'yes'", ("is a string (yes)",), id="boolean: string"),
        pytest.param("kinds = {a = 1}", ("kinds: is a table",), id="table"),
        pytest.param("kinds = 2020-01-01", ("kinds: is a date",), id="date"),
    ],
)
def test_problem(tmp_path: Path, line: str, said: tuple[str, ...]) -> None:
    write(tmp_path, f"[tool.other]\nmapping = 1\n[tool.bem-migrate]\n\n{line}\n")
    [found] = problems(tmp_path)
    assert found.startswith(":5: tool.bem-migrate.")
    assert all(text in found for text in said)


def test_every_problem_at_once_in_order(tmp_path: Path) -> None:
    write(tmp_path, "[tool.bem-migrate]\nmapping = 1\nkind = []\nkinds = ['a', 'py', 'b']\nlogger-names = 0\n")
    assert [line.partition(": ")[0] for line in problems(tmp_path)] == [":2", ":3", ":4", ":4", ":5"]


def test_no_line_for_an_inline_table(tmp_path: Path) -> None:
    write(tmp_path, "[tool]\nbem-migrate = {mapping = 1}\n")
    assert problems(tmp_path) == [": tool.bem-migrate.mapping: is a number (1); expected the path of a list of moves"]


@pytest.mark.parametrize("value", ["3", "[1]", "'x'", "[]"])
def test_not_a_table(tmp_path: Path, value: str) -> None:
    [found] = problems(write(tmp_path, f"[tool]\nbem-migrate = {value}\n"))
    assert "tool.bem-migrate: is a" in found
    assert "expected a table" in found


@pytest.mark.parametrize(
    ("data", "where"),
    [
        pytest.param("[tool.bem-migrate]\nmapping = \n", ":2:11: not valid TOML", id="syntax"),
        pytest.param("[tool.bem-migrate]\nkinds = [\n", ": not valid TOML", id="end of file"),
        pytest.param("[tool.bem-migrate]\nkinds = []\nkinds = []\n", ":3:11: not valid TOML", id="key twice"),
        pytest.param(b"[tool.bem-migrate]\n\nmapping = '\xff'\n", ":3: not text in UTF-8", id="encoding"),
        pytest.param("[tool.bem-migrate]\nkinds = " + "[" * 100_000, ": not valid TOML", id="nesting"),
    ],
)
def test_not_toml(tmp_path: Path, data: str | bytes, where: str) -> None:
    [found] = problems(write(tmp_path, data))
    assert found.startswith(where)


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    [found] = problems(tmp_path)
    assert found.startswith(": cannot be read")


def test_own_codes(tmp_path: Path) -> None:
    write(tmp_path, "[tool.bem-migrate]\nignore = ['X1']\n")
    assert load_settings(tmp_path, KINDS, codes={"X1"}).ignore == ("X1",)


def test_imports_nothing_heavy(tmp_path: Path) -> None:
    write(tmp_path, "[project]\nname = 'x'\n")
    code = (
        "import sys; from pathlib import Path; from migrate.settings import load_settings\n"
        f"load_settings(Path({str(tmp_path)!r}), ['py'])\n"
        "assert not {'tomllib', 'yaml', 'libcst', 'torch'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
