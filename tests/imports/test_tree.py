"""What the static tree of modules knows, against the import system where both can tell."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.imports.tree import Tree, absolute, find_roots


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write ``files`` below ``root``; a name that ends in a slash is an empty folder."""
    for name, text in files.items():
        place = root / name
        if name.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return root


def folders(root: Path) -> list[str]:
    return [str(folder) for folder in sorted({path.parent for path in root.rglob("*.py")})]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("src/bem2/router/a.py", ("bem2.router.a", "src.bem2.router.a"), id="under-both-roots"),
        pytest.param("src/bem2/__init__.py", ("bem2", "src.bem2"), id="package"),
        pytest.param("src/bem2/__main__.py", ("bem2.__main__", "src.bem2.__main__"), id="main"),
        pytest.param("scripts/x.py", ("scripts.x",), id="under-one-root"),
        pytest.param("my-scripts/x.py", (), id="folder-is-no-identifier"),
        pytest.param("scripts/my-script.py", (), id="file-is-no-identifier"),
        pytest.param("scripts/x.y.py", (), id="dot-in-name"),
        pytest.param("src/bem2/types.pyi", ("bem2.types", "src.bem2.types"), id="stub"),
        pytest.param("src/__init__.py", ("src",), id="init-of-a-root"),
        pytest.param("src/bem2/notes.md", (), id="not-python"),
        pytest.param("../elsewhere/x.py", (), id="outside"),
    ],
)
def test_modules(tmp_path: Path, path: str, expected: tuple[str, ...]) -> None:
    tree = Tree([tmp_path / "src", tmp_path])
    assert tree.modules(str(tmp_path / path)) == expected


FIND = {
    "one/__init__.py": "",
    "one/mod.py": "",
    "one/ext.cpython-311-x86_64-linux-gnu.so": "",
    "one/stub.pyi": "",
    "one/both.py": "",
    "one/both.pyi": "",
    "space/inner/mod.py": "",
    "controller.py": "",
    "controller/sub.py": "",
    "hidden.py": "",
    "hidden/__init__.py": "",
    "data/table.csv": "",
    "gone/__pycache__/x.cpython-311.pyc": "",
}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        pytest.param("one", "one/__init__.py", id="package"),
        pytest.param("one.mod", "one/mod.py", id="module"),
        pytest.param("one.ext", "one/ext.cpython-311-x86_64-linux-gnu.so", id="extension-with-tag"),
        pytest.param("one.stub", "one/stub.pyi", id="stub"),
        pytest.param("one.both", "one/both.py", id="source-before-stub"),
        pytest.param("one.mod.deeper", None, id="below-a-module"),
        pytest.param("one.absent", None, id="absent"),
        pytest.param("space", "space", id="namespace-package"),
        pytest.param("space.inner.mod", "space/inner/mod.py", id="module-in-namespace"),
        pytest.param("controller", "controller.py", id="module-hides-folder"),
        pytest.param("controller.sub", None, id="folder-hidden-by-module"),
        pytest.param("hidden", "hidden/__init__.py", id="package-hides-module"),
        pytest.param("data", None, id="folder-of-data"),
        pytest.param("gone", None, id="only-caches-left"),
        pytest.param("", None, id="empty"),
    ],
)
def test_find(tmp_path: Path, module: str, expected: str | None) -> None:
    tree = Tree([lay(tmp_path, FIND)])
    assert tree.find(module) == (expected and str(tmp_path / expected))


PARTS = st.sampled_from(["a", "b"])
FILES = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(PARTS, max_size=3),
    st.sampled_from(["a.py", "b.py", "__init__.py"]),
)


def python_finds(root: str, module: str) -> str | None:
    """Ask the import system's own finder, folder by folder, which executes nothing."""
    folders, place = [root], None
    for part in module.split("."):
        spec = FileFinder(folders[0], (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(part) if folders else None
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or ())
        place = spec.origin or folders[0]
    return place


@settings(deadline=None)
@given(st.sets(FILES, min_size=1, max_size=8), st.lists(PARTS, min_size=1, max_size=4).map(".".join))
def test_find_agrees_with_the_import_system(files: set[str], module: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder), dict.fromkeys(files, ""))
        assert Tree([Path(folder)]).find(module) == python_finds(folder, module)


@settings(deadline=None)
@given(st.sets(FILES, min_size=1, max_size=8))
def test_a_module_name_leads_back_to_its_file_unless_another_hides_it(files: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree([lay(Path(folder), dict.fromkeys(files, ""))])
        for file in (str(Path(folder, name)) for name in files):
            for module in tree.modules(file):
                found = tree.find(module)
                assert found == file or found == python_finds(folder, module)


def test_find_prefers_a_file_under_a_later_root_to_a_namespace_folder(tmp_path: Path) -> None:
    lay(tmp_path, {"a/pkg/x.py": "", "b/pkg/__init__.py": ""})
    assert Tree([tmp_path / "a", tmp_path / "b"]).find("pkg") == str(tmp_path / "b/pkg/__init__.py")


BOUND = """
import os, xml.dom as dom, xml.sax
from a import b as c
def function(): local = 1
async def coroutine(): pass
class Class: attribute = 1
x = y = 1
(t1, [t2, *t3]), obj.attr, obj[0] = value
annotated: int = 1
declared: int
counter += 1
for i, j in pairs: looped = 1
else: after_loop = 1
while cond: in_while = 1
with open("f") as handle, lock as (l1, l2): in_with = 1
try: tried = 1
except OSError as error: handled = 1
else: in_else = 1
finally: finally_ = 1
if cond: when = 1
elif other: elif_ = 1
else: otherwise = 1
match value:
    case {"k": captured, **rest}: matched = 1
    case [first, *others] | Point(x=first) as whole: pass
if (walrus := 1): pass
squares = [inner := n for n in range(3)]
def sets_global():
    global shared
    shared = 1
temporary = 1
del temporary
"""
NAMES = {
    *("os", "dom", "xml", "c", "function", "coroutine", "Class", "x", "y", "t1", "t2", "t3", "annotated", "counter"),
    *("i", "j", "looped", "after_loop", "in_while", "handle", "l1", "l2", "in_with", "tried", "handled", "in_else"),
    *("finally_", "when", "elif_", "otherwise", "captured", "rest", "matched", "first", "others", "whole", "walrus"),
    *("squares", "inner", "sets_global", "shared"),
}


def test_exports_lists_what_is_bound_at_module_level(tmp_path: Path) -> None:
    exports = Tree([lay(tmp_path, {"m.py": BOUND})]).exports("m")
    assert exports is not None
    assert exports.names == NAMES
    assert exports.complete
    assert exports.star == tuple(sorted(NAMES))


@pytest.mark.parametrize(
    ("source", "complete"),
    [
        pytest.param("x = 1\n", True, id="plain"),
        pytest.param("def __getattr__(name): ...\n", False, id="getattr"),
        pytest.param("__getattr__, __dir__, __all__ = attach(__name__)\n", False, id="lazy-loader"),
        pytest.param("globals()['x'] = 1\n", False, id="globals-write"),
        pytest.param("def f(): globals().update(a=1)\n", False, id="globals-update-in-function"),
        pytest.param("ns = globals()\n", False, id="globals-escapes"),
        pytest.param("y = globals()['x'], globals().get('y'), 'z' in globals()\n", True, id="globals-read"),
        pytest.param("exec('x = 1')\n", False, id="exec"),
        pytest.param("exec(code, {})\n", True, id="exec-elsewhere"),
        pytest.param("def f(): exec('x = 1')\n", True, id="exec-in-function"),
        pytest.param("vars()['x'] = 1\n", False, id="vars"),
        pytest.param("def f(): return locals()\n", True, id="locals-in-function"),
        pytest.param("import sys\nsys.modules[__name__] = Lazy()\n", False, id="replaces-itself"),
        pytest.param("@enum.global_enum\nclass E(enum.Enum): A = 1\n", False, id="enum-members"),
        pytest.param("from os import *\n", False, id="star-leads-outside"),
        pytest.param("from .inner import *\n", True, id="star-inside"),
        pytest.param("from ...too.far import *\n", False, id="star-too-deep"),
        pytest.param("print 'python 2'\n", False, id="does-not-parse"),
        pytest.param("x = '\0'\n", False, id="null-byte"),
        pytest.param("pattern = '\\d'\n", True, id="invalid-escape"),
    ],
)
def test_complete(tmp_path: Path, source: str, complete: bool) -> None:
    tree = Tree([lay(tmp_path, {"m/__init__.py": source, "m/inner.py": "a = 1\n"})])
    exports = tree.exports("m")
    assert exports is not None
    assert exports.complete is complete
    assert tree.has("m", "absent") is (False if complete else None)


@pytest.mark.parametrize(
    ("source", "star"),
    [
        pytest.param("a = _b = 1\n", ("a",), id="public-names"),
        pytest.param("a = _b = 1\n__all__ = ['_b']\n", ("_b",), id="list"),
        pytest.param("__all__ = ('x', 'a')\n", ("x", "a"), id="tuple-in-order"),
        pytest.param("__all__: list[str] = ['a']\n", ("a",), id="annotated"),
        pytest.param("__all__ = ['a'] + ['b']\n__all__ += ['c']\n", ("a", "b", "c"), id="sums"),
        pytest.param("__all__ = ['a']\n__all__.extend(('b',))\n__all__.append('c')\n", ("a", "b", "c"), id="calls"),
        pytest.param("__all__ = ['a'] + inner.__all__\n", None, id="not-literal"),
        pytest.param("__all__ = ['a']\nif cond: __all__ += ['b']\n", None, id="conditional"),
        pytest.param("__all__ = ['a']\n__all__.remove('a')\n", None, id="removed"),
        pytest.param("from .inner import __all__\n", None, id="imported"),
        pytest.param("__all__ = ['a']\nexec('x = 1')\n", ("a",), id="literal-in-a-module-that-is-not-complete"),
        pytest.param("exec('x = 1')\n", None, id="not-complete"),
        pytest.param("@public\ndef f(): ...\n", None, id="decorator-that-appends"),
        pytest.param("from .inner import *\n", ("deep", "inner"), id="star-of-star"),
        pytest.param("from .listed import *\n", ("kept", "listed"), id="star-of-all"),
        pytest.param("from .computed import *\n", None, id="star-of-computed-all"),
    ],
)
def test_star(tmp_path: Path, source: str, star: tuple[str, ...] | None) -> None:
    files = {
        "m/__init__.py": source,
        "m/inner.py": "from m.deeper import *\n",
        "m/deeper.py": "deep = 1\n",
        "m/listed.py": "kept = dropped = 1\n__all__ = ['kept']\n",
        "m/computed.py": "__all__ = [n for n in 'ab']\n",
    }
    exports = Tree([lay(tmp_path, files)]).exports("m")
    assert exports is not None
    assert exports.star == star


@pytest.mark.parametrize(
    "case", ["a = _b = 1\nfrom .inner import *\n", "from .inner import deep\nfrom . import listed\n"]
)
def test_star_is_what_python_binds(tmp_path: Path, case: str) -> None:
    lay(tmp_path, {"m/__init__.py": case, "m/inner.py": "deep = _not = 1\n", "m/listed.py": "__all__ = []\n"})
    exports = Tree([tmp_path]).exports("m")
    script = "ns = {}\nexec('from m import *', ns)\nprint(*sorted(set(ns) - {'__builtins__'}))"
    bound = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert exports is not None
    assert exports.star == tuple(bound.stdout.split())


def test_star_cycles_end(tmp_path: Path) -> None:
    lay(tmp_path, {"a.py": "from b import *\nx = 1\n", "b.py": "from a import *\ny = 1\n"})
    tree = Tree([tmp_path])
    for module in ("a", "b"):
        exports = tree.exports(module)
        assert exports is not None
        assert exports.names == {"x", "y"}


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        pytest.param("pkg", "bound", True, id="bound"),
        pytest.param("pkg", "sub", True, id="submodule"),
        pytest.param("pkg", "__file__", True, id="implicit"),
        pytest.param("pkg", "absent", False, id="surely-not"),
        pytest.param("pkg.lazy", "any", None, id="lazy"),
        pytest.param("pkg.native", "any", None, id="extension"),
        pytest.param("space", "mod", True, id="namespace-has-modules"),
        pytest.param("space", "absent", False, id="namespace-has-nothing-else"),
        pytest.param("nowhere", "any", None, id="no-such-module"),
    ],
)
def test_has(tmp_path: Path, module: str, name: str, expected: bool | None) -> None:
    files = {
        "pkg/__init__.py": "bound = 1\n",
        "pkg/sub.py": "",
        "pkg/lazy.py": "def __getattr__(n): ...\n",
        "pkg/native.so": "",
        "space/mod.py": "",
    }
    assert Tree([lay(tmp_path, files)]).has(module, name) is expected


def test_exports_of_what_is_not_source(tmp_path: Path) -> None:
    tree = Tree([lay(tmp_path, {"native.so": "", "space/mod.py": ""})])
    assert [tree.exports(module) for module in ("native", "space", "absent")] == [None, None, None]


def test_pickle_carries_the_roots_alone(tmp_path: Path) -> None:
    tree = Tree([lay(tmp_path, {f"pkg/m{i}.py": "x = 1\n" for i in range(50)})])
    before = len(pickle.dumps(tree))
    assert all(tree.has(f"pkg.m{i}", "x") for i in range(50))
    assert len(pickle.dumps(tree)) == before
    assert pickle.loads(pickle.dumps(tree)).roots == tree.roots


@pytest.mark.parametrize(
    ("level", "name", "module", "is_package", "expected"),
    [
        pytest.param(0, "x.y", "a.b", False, "x.y", id="absolute"),
        pytest.param(1, "x", "a.b.c", False, "a.b.x", id="sibling"),
        pytest.param(1, "", "a.b", True, "a.b", id="package-itself"),
        pytest.param(2, "x", "a.b.c", False, "a.x", id="parent"),
        pytest.param(3, "x", "a.b.c", False, None, id="beyond-the-top"),
        pytest.param(1, "x", "a", False, None, id="top-level-module"),
    ],
)
def test_absolute(level: int, name: str, module: str, is_package: bool, expected: str | None) -> None:
    assert absolute(level, name, module, is_package) == expected


ROOTS = [
    pytest.param({"pkg/__init__.py": "", "pkg/sub/__init__.py": ""}, ["."], id="flat"),
    pytest.param({"src/pkg/__init__.py": "", "tests/test_x.py": ""}, ["src", "."], id="src-layout"),
    pytest.param({"src/pkg/mod.py": ""}, ["src", "."], id="src-layout-of-namespace-packages"),
    pytest.param(
        {"services/api/src/api/__init__.py": "", "services/web/src/web/__init__.py": ""},
        ["services/api/src", "services/web/src", "."],
        id="several-src-folders",
    ),
    pytest.param({"src/pkg/__init__.py": "", "src/pkg/src/inner/__init__.py": ""}, ["src", "."], id="src-in-a-package"),
    pytest.param(
        {"src/pkg/__init__.py": "", "src/pkg/src/inner/__init__.py": "from inner import x\n"},
        ["src/pkg/src", "src", "."],
        id="src-in-a-package-imported-as-a-root",
    ),
    pytest.param(
        {"google/cloud/storage/__init__.py": "from google.cloud.storage import x\n"}, ["."], id="namespace-package"
    ),
    pytest.param(
        {"pkg/__init__.py": "", "pkg/forgotten/leaf/__init__.py": ""}, ["."], id="init-forgotten-between-packages"
    ),
    pytest.param({"tests/unit/__init__.py": "", "tests/conftest.py": ""}, ["tests", "."], id="tests-without-init"),
    pytest.param({"src/__init__.py": "", "src/a.py": ""}, ["."], id="src-is-a-package"),
    pytest.param(
        {"pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["code"]\n', "code/mod/x.py": ""},
        ["code", "."],
        id="setuptools-where",
    ),
    pytest.param(
        {"pyproject.toml": '[tool.setuptools]\npackage-dir = {"" = "code"}\n', "code/m.py": ""},
        ["code", "."],
        id="setuptools-package-dir",
    ),
    pytest.param(
        {"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["a/b", "absent"]\n', "a/b/m.py": ""},
        ["a/b", "."],
        id="pytest-pythonpath",
    ),
    pytest.param(
        {"pyproject.toml": '[tool.hatch.build.targets.wheel]\npackages = ["code/m"]\n', "code/m/x.py": ""},
        ["code", "."],
        id="hatch",
    ),
    pytest.param(
        {"pytest.ini": "[pytest]\npythonpath = a b\n", "a/m.py": "", "b/m.py": ""}, ["a", "b", "."], id="pytest-ini"
    ),
    pytest.param(
        {"tox.ini": "[testenv]\nsetenv =\n    X = 1\n    PYTHONPATH = {toxinidir}/code:{envdir}\n", "code/m.py": ""},
        ["code", "."],
        id="tox",
    ),
    pytest.param(
        {"setup.cfg": "[options]\npackage_dir =\n    = code\n[options.packages.find]\nwhere = code\n", "code/m.py": ""},
        ["code", "."],
        id="setup-cfg",
    ),
    pytest.param({"setup.py": "setup(package_dir={'': 'code'})\n", "code/m.py": ""}, ["code", "."], id="setup-py"),
    pytest.param(
        {"pyproject.toml": "not [ toml", "tox.ini": "not ini", "pkg/__init__.py": ""}, ["."], id="broken-settings"
    ),
]


@pytest.mark.parametrize(("files", "expected"), ROOTS)
def test_find_roots(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    lay(tmp_path, files)
    assert find_roots(tmp_path, [tmp_path], [], folders(tmp_path)) == [tmp_path / root for root in expected]


def test_find_roots_takes_declared_ones_as_they_are(tmp_path: Path) -> None:
    lay(tmp_path, {"src/pkg/__init__.py": "", "lib/deep/x.py": ""})
    declared = [tmp_path / "lib", tmp_path / "lib/deep"]
    assert find_roots(tmp_path, [tmp_path], declared, folders(tmp_path)) == [tmp_path / "lib/deep", tmp_path / "lib"]


def test_find_roots_of_paths_outside_the_project(tmp_path: Path) -> None:
    lay(tmp_path, {"project/pyproject.toml": "", "other/pkg/__init__.py": "", "scripts/x.py": ""})
    paths = [tmp_path / "other/pkg", tmp_path / "scripts/x.py"]
    found = find_roots(tmp_path / "project", paths, [], [str(tmp_path / "other/pkg"), str(tmp_path / "scripts")])
    assert found == [tmp_path / "other", tmp_path / "project", tmp_path / "scripts"]


def test_find_roots_of_a_package_that_is_the_working_folder(tmp_path: Path) -> None:
    lay(tmp_path, {"pkg/__init__.py": "", "pkg/sub/__init__.py": ""})
    assert find_roots(tmp_path / "pkg", [tmp_path / "pkg"], [], folders(tmp_path / "pkg")) == [tmp_path]
