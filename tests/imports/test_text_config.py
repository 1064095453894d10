"""YAML, JSON, TOML and INI files, before and after."""

# ruff: noqa: E501 -- one row a case

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate import moves_file
from migrate.edits import apply
from migrate.imports.context import Context
from migrate.imports.kinds import kind_of, rewriter
from migrate.imports.tree import Tree

MOVES = moves_file.parse(
    """
    version: 1
    moves:
      - {old: src.bem2, new: bem2, kind: module}
      - {old: bem, new: bem_legacy, kind: module}
      - {old: bem2.router.training, new: bem2.router.loop, kind: module}
      - {old: bem2.Config, new: "bem_core.config:Config", kind: symbol}
      - {old: bem2.gone, removed: use torch.compile}
    """,
    "moves.yaml",
)


def check(path: str, before: str, tree: Tree | None = None) -> tuple[str, list[str]]:
    """Rewrite twice; return the new text and the findings of the first time."""
    ctx = Context(path, MOVES, tree)
    rewrite = rewriter(str(kind_of(path)))
    result = rewrite(before, ctx)
    after = apply(before, result.edits)
    assert rewrite(after, ctx).edits == []
    return after, [f"{finding.line}:{finding.column} {finding.code}" for finding in result.findings]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        pytest.param("a.yaml", "_target_: bem.x.Y\n", "_target_: bem_legacy.x.Y\n", id="target"),
        pytest.param("a.yaml", "a:\r\n\t\r\n  _component_: bem.x.Y  # keep\r\n", "a:\r\n\t\r\n  _component_: bem_legacy.x.Y  # keep\r\n", id="crlf and comment"),
        pytest.param("a.yaml", "class_path: 'bem.x:Y'\n", "class_path: 'bem_legacy.x:Y'\n", id="colon"),
        pytest.param("a.yaml", "_target_: bem2.Config\n", "_target_: bem_core.config.Config\n", id="symbol"),
        pytest.param("a.yaml", "entry: bem2:Config\n", "entry: bem_core.config:Config\n", id="symbol under any key"),
        pytest.param("a.yaml", "- class: bem.x.Y\n- (): bem.x.Z\n", "- class: bem_legacy.x.Y\n- (): bem_legacy.x.Z\n", id="list of mappings"),
        pytest.param("a.yaml", "{type: bem.x.Y, module: bem}\n", "{type: bem_legacy.x.Y, module: bem_legacy}\n", id="flow"),
        pytest.param("a.yaml", "imports: [bem.x, 'bem.y']\n", "imports: [bem_legacy.x, 'bem_legacy.y']\n", id="list of modules"),
        pytest.param("a.yaml", "cmd: [python, -m, bem.x]\n", "cmd: [python, -m, bem_legacy.x]\n", id="argument list"),
        pytest.param("a.yaml", "command: [python]\nargs:\n- -m\n- bem.x\n", "command: [python]\nargs:\n- -m\n- bem_legacy.x\n", id="command and arguments"),
        pytest.param("a.yaml", "a: |\n  ls\n  python -m \\\n    bem.x\n", "a: |\n  ls\n  python -m \\\n    bem_legacy.x\n", id="literal block"),
        pytest.param("a.yaml", "a: >-\n  python\n  -m bem.x\n\n  b\n", "a: >-\n  python\n  -m bem_legacy.x\n\n  b\n", id="folded block"),
        pytest.param("a.yaml", 'a: "echo \\"x\\" \\u00e9; python -m bem.x"\n', 'a: "echo \\"x\\" \\u00e9; python -m bem_legacy.x"\n', id="escapes"),
        pytest.param("a.yaml", "a: python\n   -m\n   bem.x\n", "a: python\n   -m\n   bem_legacy.x\n", id="plain over lines"),
        pytest.param("a.yaml", "a: &x\n  target: bem.x.Y\nb: *x\n", "a: &x\n  target: bem_legacy.x.Y\nb: *x\n", id="anchor"),
        pytest.param("a.yaml", "a: !!python/name:bem.x.f ''\nb: !new:bem.x.Y\n  c: 1\n", "a: !!python/name:bem_legacy.x.f ''\nb: !new:bem_legacy.x.Y\n  c: 1\n", id="tags"),
        pytest.param("a.yaml", "target: bem.x.Y\n---\ntarget: bem.x.Z\n", "target: bem_legacy.x.Y\n---\ntarget: bem_legacy.x.Z\n", id="documents"),
        pytest.param("a.yaml", "{{- if x }}\n- target: bem.x.Y\n  run: python -m bem.z\n{{- end }}\n", "{{- if x }}\n- target: bem_legacy.x.Y\n  run: python -m bem_legacy.z\n{{- end }}\n", id="template"),
        pytest.param(".github/workflows/a.yml", "steps:\n- run: |\n    from bem.x import y\n  shell: python\n", "steps:\n- run: |\n    from bem_legacy.x import y\n  shell: python\n", id="step in Python"),
        pytest.param(".github/workflows/a.yml", "steps:\n- run: python -c \"import bem; bem.x()\"\n", "steps:\n- run: python -c \"import bem_legacy as bem; bem.x()\"\n", id="step with code"),
        pytest.param(".pre-commit-config.yaml", "- id: x\n  entry: pytest\n  args: [--cov=bem]\n", "- id: x\n  entry: pytest\n  args: [--cov=bem_legacy]\n", id="hook"),
        pytest.param("docker-compose.yml", "entrypoint: python\ncommand: [-m, bem.x]\n", "entrypoint: python\ncommand: [-m, bem_legacy.x]\n", id="compose"),
        pytest.param("a.json", '{"target" : "bem.x.Y"}', '{"target" : "bem_legacy.x.Y"}', id="json"),
        pytest.param("a.json", '{ // why\n "module": "bem", "args": ["python", "-m", "bem.x",] }', '{ // why\n "module": "bem_legacy", "args": ["python", "-m", "bem_legacy.x",] }', id="json with comments"),
        pytest.param("a.json", r'{"a": "\u00e9 \"python -m bem.x\""}', r'{"a": "\u00e9 \"python -m bem_legacy.x\""}', id="json escapes"),
        pytest.param("a.toml", 'm = { class_path = "bem.x:Y", n = 1 } # c\n', 'm = { class_path = "bem_legacy.x:Y", n = 1 } # c\n', id="toml"),
        pytest.param("a.toml", '[a."b.c"]\n_target_ = """\nbem.x.Y"""\n[[d]]\ntype = \'bem.x.Z\'', '[a."b.c"]\n_target_ = """\nbem_legacy.x.Y"""\n[[d]]\ntype = \'bem_legacy.x.Z\'', id="toml strings"),
        pytest.param("pyproject.toml", "[project.scripts]\na-b = \"bem.x:main\"\n", "[project.scripts]\na-b = \"bem_legacy.x:main\"\n", id="scripts"),
        pytest.param("pyproject.toml", "[project.entry-points.'x.y']\na = 'bem.x:Y [e]'\n", "[project.entry-points.'x.y']\na = 'bem_legacy.x:Y [e]'\n", id="entry points"),
        pytest.param("pyproject.toml", "[tool.poetry]\nscripts = {a = {reference = 'bem.x:f', type = 'console'}}\n", "[tool.poetry]\nscripts = {a = {reference = 'bem_legacy.x:f', type = 'console'}}\n", id="poetry"),
        pytest.param("pyproject.toml", "[tool.setuptools]\npackages = ['bem', \"bem.x\"]\npackage-data = {bem = ['*'], 'bem.x' = ['a']}\n", "[tool.setuptools]\npackages = ['bem_legacy', \"bem_legacy.x\"]\npackage-data = {bem_legacy = ['*'], 'bem_legacy.x' = ['a']}\n", id="setuptools"),
        pytest.param("pyproject.toml", "[tool.setuptools.dynamic]\nversion = {attr = 'bem.v.V'}\n", "[tool.setuptools.dynamic]\nversion = {attr = 'bem_legacy.v.V'}\n", id="dynamic"),
        pytest.param("pyproject.toml", "[[tool.mypy.overrides]]\nmodule = [\n  'bem.*', # a\n  'bem2.*',\n]\n", "[[tool.mypy.overrides]]\nmodule = [\n  'bem_legacy.*', # a\n  'bem2.*',\n]\n", id="mypy"),
        pytest.param("pyproject.toml", "[tool.ruff.lint.isort]\nknown-first-party = ['bem']\n", "[tool.ruff.lint.isort]\nknown-first-party = ['bem_legacy']\n", id="isort"),
        pytest.param("pyproject.toml", "[tool.pytest.ini_options]\naddopts = ['-p', 'bem.x', '--cov=bem']\nfilterwarnings = ['error', 'ignore:m:bem.x.W:bem']\n", "[tool.pytest.ini_options]\naddopts = ['-p', 'bem_legacy.x', '--cov=bem_legacy']\nfilterwarnings = ['error', 'ignore:m:bem_legacy.x.W:bem_legacy']\n", id="pytest"),
        pytest.param("pyproject.toml", "[tool.importlinter]\nroot_packages = ['bem']\n[[tool.importlinter.contracts]]\nlayers = ['bem.a | bem.b']\nignore_imports = ['bem.a.* -> bem.b']\n", "[tool.importlinter]\nroot_packages = ['bem_legacy']\n[[tool.importlinter.contracts]]\nlayers = ['bem_legacy.a | bem_legacy.b']\nignore_imports = ['bem_legacy.a.* -> bem_legacy.b']\n", id="import-linter"),
        pytest.param("pyproject.toml", "[tool.poe.tasks]\na = 'python -m bem.x'\nb.script = 'bem.x:f'\n", "[tool.poe.tasks]\na = 'python -m bem_legacy.x'\nb.script = 'bem_legacy.x:f'\n", id="tasks"),
        pytest.param("setup.cfg", "[options]\npackages =\n    bem\n    bem.x  \n", "[options]\npackages =\n    bem_legacy\n    bem_legacy.x  \n", id="packages"),
        pytest.param("setup.cfg", "[options.entry_points]\nconsole_scripts =\n\ta = bem.x:f\n\t# b\n\tbem = bem:main\n", "[options.entry_points]\nconsole_scripts =\n\ta = bem_legacy.x:f\n\t# b\n\tbem = bem_legacy:main\n", id="console scripts"),
        pytest.param("setup.cfg", "[metadata]\nversion = attr: bem.v.V\n[mypy-bem.*,bem2.*]\n[options.package_data]\nbem = *.txt\n", "[metadata]\nversion = attr: bem_legacy.v.V\n[mypy-bem_legacy.*,bem2.*]\n[options.package_data]\nbem_legacy = *.txt\n", id="sections and keys"),
        pytest.param("tox.ini", "[testenv:a]\r\ncommands =\r\n    pytest --cov=bem {posargs}\r\n    {envpython} -m bem.x\r\nsetenv =\r\n    FLASK_APP = bem.x\r\n", "[testenv:a]\r\ncommands =\r\n    pytest --cov=bem_legacy {posargs}\r\n    {envpython} -m bem_legacy.x\r\nsetenv =\r\n    FLASK_APP = bem_legacy.x\r\n", id="tox"),
        pytest.param(".coveragerc", "[run]\nsource = bem, bem2\n", "[run]\nsource = bem_legacy, bem2\n", id="coverage"),
        pytest.param("logging.ini", "[handler_a]\nclass=bem.x.H\n", "[handler_a]\nclass=bem_legacy.x.H\n", id="logging"),
    ],
)  # fmt: skip
def test_changes(path: str, before: str, after: str) -> None:
    if "\t\r" in before:  # a tab alone on a line is an error in YAML
        before, after = before.replace("\t", ""), after.replace("\t", "")
    assert check(path, before) == (after, [])


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        pytest.param("a.yaml", "id: bem\nexperts:\n- bem2\n- bem\n", [], id="ids"),
        pytest.param("a.yaml", "wandb_project: bem2-multimodal\nimage: bem:latest\n", [], id="look-alikes"),
        pytest.param("a.yaml", "target: bem\ntype: bem\nclass: bem\n", [], id="one word under a known key"),
        pytest.param("a.yaml", "bem: 1\n_target_: other.x\n", [], id="key"),
        pytest.param("a.yaml", "bem.x.Y: 1\n", ["1:1 BM105"], id="dotted key"),
        pytest.param("a.yaml", "schema: bem.models\n", ["1:9 BM105"], id="unknown key"),
        pytest.param("a.yaml", "note: loads bem.x.Y later\n", ["1:13 BM105"], id="inside a sentence"),
        pytest.param("a.yaml", "# target: bem.x.Y\n", ["1:11 BM105"], id="comment"),
        pytest.param("a.yaml", "target: bem2.gone\n", ["1:9 BM106"], id="removed"),
        pytest.param("a.yaml", "target: bem.x.Y.yaml\nfile: bem.yaml\n", ["1:9 BM105"], id="file names"),
        pytest.param("a.yaml", "kernel: bem/kernels/x.py\n", ["1:9 BM112"], id="path"),
        pytest.param("a.yaml", "kernel: bem/kernels/\nout: results/bem/x.py\n", [], id="folders that may be anything"),
        pytest.param("a.yaml", "a: [-v, bem]\nb: [run, --name, bem.x]\n", ["2:18 BM105"], id="list with options"),
        pytest.param("a.yaml", "a: 'python -m bem2.x'\nb: |\n  docker run bem\n", [], id="commands without old names"),
        pytest.param("a.yaml", "module: [1, 2.0, null]\nimport: {a: b}\n", [], id="values that are no strings"),
        pytest.param("a.yaml", "{{ x }}: [\nschema: bem.models\nname: bem\n", ["2:9 BM105"], id="template"),
        pytest.param(".github/workflows/a.yml", "- run: docker build -t bem:scan .\n  with: {image-ref: 'bem:scan'}\n", [], id="image"),
        pytest.param("a.json", '{"bem": "bem", "name": "bem2", "n": [1e5, NaN]}', [], id="json ids"),
        pytest.param("a.json", '{"x": "bem.models", "arn": "a:secret:bem/url"}', ["1:8 BM105"], id="json values"),
        pytest.param("a.json", '{"target": "bem.x.Y"', ["1:1 BM108", "1:13 BM105"], id="broken json"),
        pytest.param("a.toml", 'target = "bem"\nbem = "bem"\n', [], id="toml ids"),
        pytest.param("a.toml", 'schema = "bem.models" # bem.x\n', ["1:11 BM105", "1:25 BM105"], id="toml values"),
        pytest.param("a.toml", 'target = bem.x\n', ["1:1 BM108", "1:10 BM105"], id="broken toml"),
        pytest.param("pyproject.toml", '[project]\nname = "bem"\ndependencies = ["bem2-x", "bem>=1"]\n', [], id="project name"),
        pytest.param("pyproject.toml", '[project.scripts]\nbem = "other:main"\n', [], id="script of that name"),
        pytest.param("pyproject.toml", '[tool.bem-migrate]\nmapping = "bem.x.Y"\n', [], id="own table"),
        pytest.param("pyproject.toml", "[tool.setuptools.packages.find]\nwhere = ['src']\ninclude = ['bem*', 'bem2*']\n", [], id="globs"),
        pytest.param("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-m bem'\npythonpath = ['bem']\n", [], id="markers and folders"),
        pytest.param("pyproject.toml", "[tool.black]\nextend-exclude = 'bem/'\n[tool.x]\nitems = ['bem', 'bem2']\n", [], id="other tools"),
        pytest.param("pyproject.toml", "[project.entry-points.'bem.plugins']\na = 'x:y'\n", ["1:24 BM105"], id="group of entry points"),
        pytest.param("pyproject.toml", "[tool.setuptools]\npackage-data = {bem = [], bem_legacy = []}\n", ["2:17 BM113"], id="key that exists already"),
        pytest.param("setup.cfg", "[metadata]\nname = bem\n[options]\ninstall_requires =\n    bem\n    bem2-x\n", [], id="distribution"),
        pytest.param("setup.cfg", "[options.packages.find]\nwhere = src\nexclude = bem*\n", [], id="ini globs"),
        pytest.param("setup.cfg", "[bem]\nbem = bem\n", [], id="section of that name"),
        pytest.param("setup.cfg", "[options.entry_points]\n# a = bem.x:f\nb =\n", ["2:7 BM105"], id="ini comment"),
        pytest.param("tox.ini", "[testenv:bem]\nchangedir = bem\ncommands = pytest -m bem\n", [], id="environment of that name"),
        pytest.param("tox.ini", "[testenv]\nsetenv =\n    PYTHONPATH = {toxinidir}/src\n    NAME = bem\n", [], id="variables"),
        pytest.param("pytest.ini", "[pytest]\nmarkers =\n    bem: bem.x\n", ["3:10 BM105"], id="marker"),
        pytest.param("x.ini", "bem\n = \n[\n=bem\n]] bem = [\n", [], id="broken ini"),
    ],
)  # fmt: skip
def test_stays(path: str, text: str, findings: list[str]) -> None:
    assert check(path, text) == (text, findings)


def test_the_tree_makes_a_class_sure(tmp_path: Path) -> None:
    (tmp_path / "bem_legacy").mkdir()
    (tmp_path / "bem_legacy" / "__init__.py").write_text("")
    (tmp_path / "bem_legacy" / "x.py").write_text("class Y: ...\ndef f(): ...\n")
    tree = Tree([tmp_path])
    after, findings = check("a.yaml", "a: bem.x.Y\nb: bem.x.f\nc: bem/x\ntarget: bem.x.Z\n", tree)
    assert after == "a: bem_legacy.x.Y\nb: bem.x.f\nc: bem/x\ntarget: bem_legacy.x.Z\n"
    assert findings == ["2:4 BM105", "3:4 BM112", "4:9 BM104"]


NAMES = st.sampled_from(
    ["bem.x.Y", "bem", "bem2.router.training", "bem2-a", "plain", "a: b", "# c", "é\u2028", "'", '"', "\\"]
)
SCALARS = NAMES | st.integers() | st.booleans() | st.none() | st.text(max_size=5)
KEYS = st.sampled_from(["target", "module", "bem", "run", "args", "command", "x"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def replaced(value: object) -> object:
    """Put old names back where new ones are, to compare what a rewrite left alone."""
    if isinstance(value, dict):
        return {key: replaced(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner) for inner in value]
    if isinstance(value, str):
        return value.replace("bem_legacy", "bem").replace("bem2.router.loop", "bem2.router.training")
    return value


@given(VALUES, st.sampled_from([None, '"', "'"]), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_yaml_keeps_everything_else(value: object, style: str | None, flow: bool, newline: str) -> None:
    text = yaml.safe_dump(value, default_style=style, default_flow_style=flow, width=20, allow_unicode=True)
    text = text.replace("\n", newline)
    after, _ = check("a.yaml", text)
    assert replaced(yaml.safe_load(after)) == replaced(yaml.safe_load(text))
    assert replaced(after) == replaced(text)


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_keeps_everything_else(value: object, ascii_only: bool, indent: int | str | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    after, _ = check("a.json", text)
    assert replaced(json.loads(after)) == replaced(json.loads(text))


@given(st.lists(st.tuples(KEYS, NAMES), unique_by=lambda pair: pair[0]), st.sampled_from(["{}", "'''{}'''", "[{}, 1]"]))
def test_toml_keeps_everything_else(pairs: list[tuple[str, str]], form: str) -> None:
    lines = [f"{key} = {form.format(json.dumps(name))} # bem\n" for key, name in pairs]
    text = "".join(["[bem]\n", *lines])
    after, _ = check("a.toml", text)
    assert replaced(tomllib.loads(after)) == replaced(tomllib.loads(text))
    assert replaced(after) == replaced(text)


def test_a_bare_key_is_not_given_dots() -> None:
    moves = moves_file.parse("{bem: new.bem}", "moves.yaml")
    text = "[tool.setuptools.package-data]\nbem = ['a']\n'bem.x' = ['b']\n"
    result = rewriter("toml")(text, Context("pyproject.toml", moves))
    assert apply(text, result.edits) == text.replace("'bem.x'", "'new.bem.x'")
    assert [(finding.line, finding.code) for finding in result.findings] == [(2, "BM105")]
