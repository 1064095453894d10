"""What the doctor says of imports, on generated repositories."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from migrate.imports.doctor import DoctorReport, run_doctor, to_json
from migrate.imports.doctor_view import render
from migrate.imports.external import declared, modules_of
from migrate.imports.statements import Imported
from migrate.moves import Moves
from migrate.moves_file import parse

NO_MOVES = Moves({})


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write ``files`` below ``root``."""
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return root


def examine(root: Path, roots: tuple[str, ...] = ("src", "."), moves: Moves = NO_MOVES) -> DoctorReport:
    files = sorted(str(path) for path in root.rglob("*.py"))
    return run_doctor(files, [root / name for name in roots], moves, root)


def lines_of(report: DoctorReport, width: int = 120, *, all_rows: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    render(report, console, all_rows=all_rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# A repository like the measured one: `acme` was renamed to `acme_legacy` and no importer updated, scripts say
# `acme2`, and trainers in `src/acme2` climb to `src`.
MOVES = """
version: 1
moves:
  - {old: acme, new: acme_legacy}
  - {old: src.acme, new: acme_legacy}
  - {old: src.acme2, new: acme2}
  - {old: src.acme_core, new: acme_core}
"""


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    files = {
        "src/acme2/__init__.py": "",
        "src/acme2/router/__init__.py": "from .agent import Agent\n",
        "src/acme2/router/agent.py": "import os\nfrom ...acme.trust import Region\nclass Agent: ...\n",
        "src/acme2/router/engine.py": "from ...acme.trust import Region\nfrom ...acme import sticky\n",
        "src/acme2/router/trainer.py": "from ...acme_core.base import Trainer\nclass RouterTrainer(Trainer): ...\n",
        "src/acme_core/__init__.py": "",
        "src/acme_core/base.py": "class Trainer: ...\n",
        "src/acme_legacy/__init__.py": "",
        "src/acme_legacy/controller.py": "def build(): ...\n",
        "src/acme_legacy/trust.py": "class Region: ...\n",
        "src/acme_legacy/sticky.py": "",
        "scripts/alias.py": "import src.acme as acme\nfrom src.acme_core.base import Trainer\n",
        "scripts/python2.py": "import os\nprint 'hello'\n",
    }
    for index in range(25):
        files[f"scripts/demo{index}.py"] = "from acme.controller import build\n" * 4
    files["scripts/stale.py"] = "def late():\n    from acme.controller import gone\n" * 2 + (
        "try:\n    from acme.controller import build, gone\n    import acme.trust\nexcept ImportError:\n    pass\n"
    )
    files["tests/test_names.py"] = "from acme2.router.trainer import RouterTrainer\n" + "".join(
        f"from acme2.router.agent import Agent{index}\n" for index in range(37)
    )
    files["tests/test_all.py"] = "import tests.test_names\n"
    return lay(tmp_path, files)


def test_the_measured_pattern_with_exact_counts(legacy: Path) -> None:
    report = examine(legacy, moves=parse(MOVES, "moves.yaml"))
    # 104 of `acme`, 37 names, 3 relative ones into src/acme, 1 of src.acme
    assert (len(report.unresolved), report.missing_package, report.guarded) == (145, 104, 2)
    assert [(name, count) for name, count, _ in report.missing()] == [("acme", 104), ("src.acme", 4)]
    # 3 imports of a name that acme_legacy.controller lacks, 37 that acme2.router.agent lacks
    assert report.after == 40
    assert report.unparsed == [str(legacy / "scripts/python2.py")]
    assert report.imports == 145 + 6  # os, .agent, ...acme_core, src.acme_core, acme2.router.trainer, tests.test_names
    assert report.exit_code == 1


def test_counts_of_each_root(legacy: Path) -> None:
    src, top = examine(legacy, moves=parse(MOVES, "moves.yaml")).roots
    # Under src, `src.acme_core`, `...acme_core` and `tests` fail too; under the project, `acme2.router.trainer`.
    # Afterwards all names are those under src; the other root still serves `os`, `tests` and the relative `.agent`.
    assert (src.root, src.imports, src.unresolved, src.missing_package, src.elsewhere, src.after) == (
        *("src", 151, 148, 104, 3, 41),
    )
    assert (top.root, top.imports, top.unresolved, top.missing_package, top.elsewhere, top.after) == (
        *(".", 151, 146, 104, 1, 148),
    )


def test_roots_that_exclude_each_other(legacy: Path) -> None:
    (pair,) = examine(legacy, moves=parse(MOVES, "moves.yaml")).exclusive
    assert (pair.first, pair.second, pair.only_first, pair.only_second) == ("src", ".", 1, 3)
    assert pair.example_first.endswith("tests/test_names.py:1: from acme2.router.trainer import RouterTrainer")
    assert pair.example_second.endswith("router/trainer.py:1: from ...acme_core.base import Trainer")
    assert not pair.after
    (without,) = examine(legacy).exclusive
    assert without.after


def test_two_roots_that_can_stand_on_the_path_together(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"src/pkg/__init__.py": "", "tests/helpers.py": "import pkg\n", "tests/t.py": "import tests.helpers\n"},
    )
    report = examine(tmp_path)
    assert (report.exclusive, report.unresolved, report.exit_code) == ([], [], 0)
    assert [(root.root, root.unresolved, root.elsewhere) for root in report.roots] == [("src", 1, 1), (".", 1, 1)]


PACKAGE = {
    "pkg/__init__.py": "from .a import here\n",
    "pkg/a.py": "here = 1\n",
    "pkg/lazy.py": "def __getattr__(name): ...\n",
    "pkg/sub/__init__.py": "",
    "pkg/six.py": "__path__ = []\n",
    "pkg/native.so": "",
    "datasets/prepare.py": "",
    "logging.py": "",
    "pyproject.toml": '[project]\nname = "gone"\ndependencies = ["PyYAML>=6", "torch-geometric", "Datasets"]\n'
    'optional-dependencies = {dev = ["gone[test]", "pytest-fancy"]}\n',
}


@pytest.mark.parametrize(
    ("statement", "reason", "missing"),
    [
        pytest.param("import pkg.a, pkg.sub", "", "", id="modules"),
        pytest.param("from pkg import here, a, lazy", "", "", id="names-and-submodules"),
        pytest.param("from pkg.a import *", "", "", id="star"),
        pytest.param("from pkg.lazy import anything", "", "", id="lazy-module"),
        pytest.param("from pkg.six.moves import queue", "", "", id="module-that-makes-modules"),
        pytest.param("from pkg.native.inner import f", "", "", id="extension-that-makes-modules"),
        pytest.param("import os.path, xml.dom, _thread", "", "", id="standard-library"),
        pytest.param("from __future__ import annotations", "", "", id="future"),
        pytest.param("from logging import getLogger", "", "", id="own-file-hides-standard-library"),
        pytest.param("import yaml, torch_geometric.nn", "", "", id="declared"),
        pytest.param("from datasets import load_dataset", "", "", id="declared-before-own-folder"),
        pytest.param("import fancy", "", "", id="declared-pytest-plugin"),
        pytest.param("import rich.table, click", "", "", id="installed"),
        pytest.param("import beside", "", "", id="file-beside-a-script"),
        pytest.param("from . import beside", "", "", id="relative-in-a-folder-of-scripts"),
        pytest.param("import gone.x", "package", "gone", id="own-distribution-is-no-package"),
        pytest.param("from gone import x", "package", "gone", id="package-gone"),
        pytest.param("import pkg.b.c", "module", "pkg.b", id="module-gone"),
        pytest.param("from pkg.a.b import x", "module", "pkg.a.b", id="below-a-module"),
        pytest.param("from pkg.a import here, lost, gone", "name", "pkg.a:lost, gone", id="names-gone"),
        pytest.param("from pkg.b import *", "module", "pkg.b", id="star-of-nothing"),
        pytest.param("from .absent import x", "module", "scripts.absent", id="relative"),
        pytest.param("from ...up import x", "depth", "...up", id="too-many-dots"),
        pytest.param("class C:\n  def f(self):\n    import gone", "package", "gone", id="inside-a-method"),
        pytest.param("if TYPE_CHECKING:\n  import gone", "package", "gone", id="type-checking"),
        pytest.param("match x:\n  case 1:\n    import gone", "package", "gone", id="case"),
        pytest.param("for x in y: pass\nelse:\n  import gone", "package", "gone", id="else-of-a-loop"),
    ],
)
def test_one_import(tmp_path: Path, statement: str, reason: str, missing: str) -> None:
    lay(tmp_path, PACKAGE | {"scripts/script.py": statement + "\n", "scripts/beside.py": ""})
    report = run_doctor([tmp_path / "scripts/script.py"], [tmp_path], NO_MOVES, tmp_path)
    assert [(item.reason, item.missing) for item in report.unresolved] == ([(reason, missing)] if reason else [])


def test_relative_import_in_a_file_that_has_no_module_name(tmp_path: Path) -> None:
    lay(tmp_path, {"my-scripts/a.py": "from .b import x\n", "my-scripts/b.py": "x = 1\n"})
    (item,) = examine(tmp_path, (".",)).unresolved
    assert (item.reason, item.spelling) == ("outside", "from .b import x")


GUARD = "try:\n    {}\nexcept {}:\n    {}\n"


@pytest.mark.parametrize(
    ("source", "guarded", "optional"),
    [
        pytest.param(GUARD.format("import pkg.x", "ImportError", "pass"), True, False, id="own-module"),
        pytest.param(GUARD.format("import extra", "ImportError", "extra = None"), True, True, id="package"),
        pytest.param(GUARD.format("import extra", "(OSError, ModuleNotFoundError)", "pass"), True, True, id="tuple"),
        pytest.param(GUARD.format("import extra", "Exception as e", "pass"), True, True, id="wider"),
        pytest.param(GUARD.format("import os", "ImportError", "import extra"), True, True, id="fallback"),
        pytest.param(GUARD.format("import extra", "ValueError", "pass"), False, False, id="other-error"),
        pytest.param(
            GUARD.format("pass", "ImportError", "pass") + "else:\n    import extra\n", False, False, id="else"
        ),
        pytest.param("try:\n    import extra\nexcept: pass\n", True, True, id="bare"),
        pytest.param("try:\n    import extra\nfinally: pass\n", False, False, id="finally"),
        pytest.param("with suppress(ImportError):\n    import extra\n", True, True, id="suppress"),
        pytest.param("with open('f'):\n    import extra\n", False, False, id="with"),
        pytest.param(
            GUARD.format("def f(): import extra", "ImportError", "pass"), False, False, id="function-runs-later"
        ),
        pytest.param(GUARD.format("if x: import extra", "ImportError", "pass"), True, True, id="nested-block"),
    ],
)
def test_guarded(tmp_path: Path, source: str, guarded: bool, optional: bool) -> None:
    report = examine(lay(tmp_path, {"pkg/__init__.py": "", "s.py": source}), (".",))
    (item,) = report.optional if optional else report.unresolved
    assert item.guarded is guarded
    assert report.exit_code == (0 if optional else 1)
    assert report.roots[0].unresolved == (0 if optional else 1)


def test_a_guarded_import_of_a_moved_package_is_not_optional(tmp_path: Path) -> None:
    lay(tmp_path, {"new.py": "x = 1\n", "s.py": "try:\n    from old import x\nexcept ImportError:\n    pass\n"})
    (item,) = examine(tmp_path, (".",), parse("{old: new}", "m")).unresolved
    assert (item.guarded, item.after, item.becomes) == (True, "", "from new import x")


TREE = {
    "new/__init__.py": "",
    "new/a.py": "f = 1\nclass C: ...\n",
    "old2/__init__.py": "",
    "old2/b.py": "g = 1\n",
    "pyproject.toml": '[project]\ndependencies = ["elsewhere"]\n',
}


@pytest.mark.parametrize(
    ("moves", "statement", "becomes", "resolves"),
    [
        pytest.param("{old: new}", "from old.a import f", "from new.a import f", True, id="module"),
        pytest.param("{old: new}", "import old.a", "new.a", True, id="plain-import"),
        pytest.param("{old: new}", "from old import a, absent", "from new import a, absent", False, id="one-name-gone"),
        pytest.param("{old: new}", "from old.a import *", "new.a", True, id="star"),
        pytest.param("{old: new}", "from old.absent import f", "from new.absent import f", False, id="no-such-module"),
        pytest.param("{old.m.f: 'new.a:C.f'}", "from old.m import f", "new.a.C.f", True, id="into-a-class"),
        pytest.param(
            "{old.m.f: 'new.a:f', old.m.h: 'new.z:h'}", "from old.m import f, h", "new.a.f, new.z.h", False, id="split"
        ),
        pytest.param("{old: elsewhere.sub}", "from old import f", "from elsewhere.sub import f", True, id="dependency"),
        pytest.param("{old2: soon}", "from soon.b import g", "", True, id="new-name-of-files-still-to-be-moved"),
        pytest.param("{old2: soon}", "from soon.b import absent", "", False, id="name-that-they-lack"),
        pytest.param("{old: soon, old2: soon}", "from old.b import g", "from soon.b import g", True, id="merged"),
        pytest.param("{other: new}", "from old.a import f", "", False, id="unrelated"),
    ],
)
def test_after_the_moves(tmp_path: Path, moves: str, statement: str, becomes: str, resolves: bool) -> None:
    lay(tmp_path, TREE | {"s.py": statement + "\n"})
    report = examine(tmp_path, (".",), parse(moves, "m.yaml"))
    (item,) = report.unresolved
    assert (item.becomes, not item.after) == (becomes, resolves)
    assert report.roots[0].after == report.after == (0 if resolves else 1)


@pytest.mark.parametrize("fate", ["removed", "shim_only"])
def test_moves_that_a_person_must_do(tmp_path: Path, fate: str) -> None:
    new = "" if fate == "removed" else "new: 'new.a:C', "
    moves = parse(f"version: 1\nmoves:\n  - {{old: old.m.C, {new}{fate}: takes a config}}\n", "m.yaml")
    (item,) = examine(lay(tmp_path, TREE | {"s.py": "from old.m import C\n"}), (".",), moves).unresolved
    assert (item.after, item.note) == ("package", "takes a config")


def test_roots_are_found_when_none_are_given(legacy: Path) -> None:
    files = sorted(str(path) for path in legacy.rglob("*.py"))
    assert [root.root for root in run_doctor(files, [], NO_MOVES, legacy).roots] == ["src", "."]


def test_nothing_is_executed(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(3)\n"
    lay(tmp_path, {"pkg/__init__.py": trap, "pkg/m.py": trap, "s.py": "from pkg.m import x\nfrom pkg import *\n"})
    assert len(examine(tmp_path, (".",)).unresolved) == 1
    assert not (tmp_path / "ran").exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    lay(tmp_path, {"nulls.py": "import os\0", "cookie.py": "# coding: klingon\nimport os\n"})
    files = [tmp_path / name for name in ("absent.py", "cookie.py", "nulls.py")]
    report = run_doctor(files, [tmp_path], NO_MOVES, tmp_path)
    assert (report.unparsed, report.files, report.exit_code) == ([str(file) for file in files], 3, 0)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"pyproject.toml": '[project]\nname = "Own.Name"\ndependencies = ["A_b.c[x]>=1; python_version>\'3\'"]\n'},
            ("own-name", {"a-b-c"}),
            id="project",
        ),
        pytest.param(
            {"pyproject.toml": '[dependency-groups]\ntest = ["one", {include-group = "two"}]\n'},
            ("", {"one"}),
            id="groups",
        ),
        pytest.param(
            {
                "pyproject.toml": '[tool.poetry]\nname = "own"\n[tool.poetry.dependencies]\none = "*"\n'
                '[tool.poetry.group.dev.dependencies]\ntwo = "*"\n'
            },
            ("own", {"one", "two"}),
            id="poetry",
        ),
        pytest.param(
            {
                "requirements.txt": "one==1  # why\n# no\n-r other.txt\n--index-url https://x\n./local\n"
                "git+https://host/x.git#egg=two\nhttps://host/y.whl\nthree @ https://host/z.whl\n",
                "requirements/dev.txt": "four~=1\n",
                "dev-requirements.txt": "five\n",
            },
            ("", {"one", "two", "three", "four", "five"}),
            id="requirements",
        ),
        pytest.param(
            {
                "setup.cfg": "[metadata]\nname = own\n[options]\ninstall_requires =\n    one>1\n    two\n"
                "[options.extras_require]\ndev =\n    three\n"
            },
            ("own", {"one", "two", "three"}),
            id="setup-cfg",
        ),
        pytest.param(
            {"setup.py": "setup(install_requires=['one>=1'], extras_require={'x': ['two']}, other=['no'])\n"},
            ("", {"one", "two", "x"}),
            id="setup-py",
        ),
        pytest.param(
            {"environment.yml": "dependencies:\n  - conda-forge::one=1.2\n  - pip:\n    - two==3\n"},
            ("", {"one", "pip", "two"}),
            id="conda",
        ),
        pytest.param({"pyproject.toml": "[", "setup.cfg": "x", "setup.py": "("}, ("", set()), id="broken"),
    ],
)
def test_declared(tmp_path: Path, files: dict[str, str], expected: tuple[str, set[str]]) -> None:
    assert declared(lay(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("distribution", "module"),
    [
        pytest.param("PyYAML", "yaml", id="table"),
        pytest.param("torch-geometric", "torch_geometric", id="dashes"),
        pytest.param("python-dotenv", "dotenv", id="python-prefix"),
        pytest.param("google-cloud-storage", "google", id="namespace"),
        pytest.param("Pillow", "pil", id="case"),
    ],
)
def test_modules_of(distribution: str, module: str) -> None:
    assert module in modules_of(distribution)


def test_spelling() -> None:
    assert Imported(1, 2, "a.b", ("c", "d"), False).spelling == "from ..a.b import c, d"
    assert Imported(1, 0, "a.b", (), False).spelling == "import a.b"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_summary_fits_one_screen(legacy: Path, width: int) -> None:
    lines = lines_of(examine(legacy, moves=parse(MOVES, "moves.yaml")), width)
    assert len(lines) <= 50
    assert max(map(len, lines)) <= width


def test_what_the_summary_says(legacy: Path) -> None:
    text = "\n".join(lines_of(examine(legacy, moves=parse(MOVES, "moves.yaml")), 160))
    assert "145 of 151 imports in 41 files resolve to nothing" in text
    assert "104 of them into packages that do not exist, 2 guarded; 40 after the moves" in text
    assert "src and . exclude each other; not after the moves" in text
    assert "the first 15 of 145" in text
    assert "1 file not parsed" in text


def test_all_rows(legacy: Path) -> None:
    text = "\n".join(lines_of(examine(legacy, moves=parse(MOVES, "moves.yaml")), 160, all_rows=True))
    assert text.count("acme_legacy.controller") == 100
    assert all(f"no name Agent{index} " in text for index in range(37))


def test_summary_when_all_is_well(tmp_path: Path) -> None:
    lines = lines_of(examine(lay(tmp_path, {"a.py": "import b\n", "b.py": "x = '[bold]'\n"}), (".",)))
    assert lines[0] == "1 import in 2 files: all resolve under some root"


def test_json_has_everything(legacy: Path) -> None:
    data = json.loads(to_json(examine(legacy, moves=parse(MOVES, "moves.yaml"))))
    assert data["totals"] | {"missing": None} == {
        **{"exit_code": 1, "unresolved": 145, "guarded": 2, "missing_package": 104, "after": 40, "missing": None},
    }
    assert len(data["unresolved"]) == 145
    assert data["totals"]["missing"][0] == {"module": "acme", "imports": 104}
    assert set(data["unresolved"][0]) == {
        *("path", "line", "spelling", "reason", "missing", "guarded", "becomes", "after", "note"),
    }
    assert [root["root"] for root in data["roots"]] == ["src", "."]
