"""Top-level modules that come from outside a repository: the standard library and its dependencies."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import re
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from migrate.imports.exports import parse
from migrate.imports.tree import Tree

STDLIB = frozenset(sys.stdlib_module_names) | {"__main__", "_typeshed"}

# Distributions whose modules are called otherwise, for those that are declared but not installed here.
_MODULES = {
    "antlr4-python3-runtime": "antlr4",
    "attrs": "attr attrs",
    "beautifulsoup4": "bs4",
    "biopython": "bio",
    "dnspython": "dns",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "gitpython": "git",
    "hydra-core": "hydra",
    "nvidia-ml-py": "pynvml",
    "opencv-contrib-python": "cv2",
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "pillow": "pil",
    "protobuf": "google",
    "psycopg2-binary": "psycopg2",
    "pycryptodome": "crypto",
    "pyjwt": "jwt",
    "pyserial": "serial",
    "python-json-logger": "pythonjsonlogger",
    "pytorch": "torch",
    "pyyaml": "yaml",
    "pyzmq": "zmq",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "setuptools": "setuptools pkg_resources",
    "tensorflow-cpu": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "umap-learn": "umap",
}


class External:
    """What a project's dependencies offer, as far as top-level names go."""

    def __init__(self, project_root: Path) -> None:
        """Take the folder whose ``pyproject.toml`` and requirement files declare the dependencies."""
        self._root = project_root
        self._answers: dict[str, bool] = {}

    def knows(self, name: str) -> bool:
        """Tell whether a top-level module is part of Python, installed here, or declared by the project.

        Of a distribution that is declared and not installed the module's name is concluded from its own.
        """
        if name not in self._answers:
            self._answers[name] = (
                name in STDLIB
                or name.lower() in self._declared
                or self._site.find(name) is not None
                or name in self._editable
            )
        return self._answers[name]

    @cached_property
    def _declared(self) -> frozenset[str]:
        own, names = declared(self._root)
        return frozenset(module for name in names - {own} for module in modules_of(name))

    @cached_property
    def _site(self) -> Tree:
        paths = sysconfig.get_paths()
        return Tree([Path(paths["purelib"]), Path(paths["platlib"])])

    @cached_property
    def _editable(self) -> frozenset[str]:
        """Modules that installed distributions list without having a file of theirs among the installed ones."""
        names: set[str] = set()
        for distribution in importlib.metadata.distributions():
            names.update((distribution.read_text("top_level.txt") or "").split())
        return frozenset(names)


def modules_of(distribution: str) -> set[str]:
    """Return the lower-case names that the modules of a distribution probably have."""
    name = canonical(distribution)
    if name in _MODULES:
        return set(_MODULES[name].split())
    plain = re.sub(r"^python-|-python$", "", name)
    names = {part.replace("-", "_") for part in (name, plain, name.removeprefix("pytest-"))}
    if name.startswith(("google-", "ruamel-", "nvidia-", "azure-", "zope-")):  # namespace packages
        names.add(name.partition("-")[0])
    return names


def canonical(distribution: str) -> str:
    """Return a distribution's name as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(root: Path) -> tuple[str, set[str]]:
    """Return the project's own name and those of the distributions it depends on, extras and groups included."""
    own, lines = _from_pyproject(root)
    for pattern in ("*requirements*.txt", "requirements/*.txt", "*requirements*.in", "requirements/*.in"):
        for path in root.glob(pattern):
            lines += _text(path).splitlines()
    cfg_own, cfg_lines = _from_setup_cfg(root)
    lines += [*cfg_lines, *_from_setup_py(root)]
    for path in (*root.glob("environment*.yml"), *root.glob("environment*.yaml")):
        lines += re.findall(r"^\s*-\s*(?:[\w-]+::)?([\w.-]+)", _text(path), re.MULTILINE)
    return canonical(own or cfg_own), set(_names(lines))


def _names(lines: Iterable[str]) -> Iterator[str]:
    """Yield the normalized name of each requirement; options, comments and bare addresses have none."""
    for line in lines:
        found = re.search(r"[#&]egg=([\w.-]+)", line) or re.match(
            r"\s*([A-Za-z0-9][\w.-]*)(?=$|[\s\[<>=!~;@(,#])", line
        )
        if found:
            yield canonical(found[1])


def _from_pyproject(root: Path) -> tuple[str, list[str]]:
    try:
        data = tomllib.loads(_text(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return "", []
    project, poetry = _mapping(data.get("project")), _mapping(_mapping(data.get("tool")).get("poetry"))
    groups = [*_mapping(project.get("optional-dependencies")).values()]
    groups += [project.get("dependencies"), *_mapping(data.get("dependency-groups")).values()]
    lines = [item for group in groups if isinstance(group, list) for item in group if isinstance(item, str)]
    tables = [poetry, *map(_mapping, _mapping(poetry.get("group")).values())]
    for table in tables:
        lines += [*_mapping(table.get("dependencies")), *_mapping(table.get("dev-dependencies"))]
    own = project.get("name") or poetry.get("name")
    return (own if isinstance(own, str) else ""), lines


def _from_setup_cfg(root: Path) -> tuple[str, list[str]]:
    ini = configparser.RawConfigParser(strict=False)
    try:
        ini.read_string(_text(root / "setup.cfg"))
    except configparser.Error:
        return "", []
    texts = [ini.get("options", key, fallback="") for key in ("install_requires", "tests_require", "setup_requires")]
    if ini.has_section("options.extras_require"):
        texts += [value for _, value in ini.items("options.extras_require")]
    return ini.get("metadata", "name", fallback=""), [line for text in texts for line in text.splitlines()]


def _from_setup_py(root: Path) -> list[str]:
    """Return the literal strings given to ``setup()`` as requirements."""
    tree = parse(_text(root / "setup.py").encode())
    keys = {"install_requires", "extras_require", "tests_require", "setup_requires"}
    values = [
        node.value
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, ast.keyword) and node.arg in keys
    ]
    strings = (node.value for value in values for node in ast.walk(value) if isinstance(node, ast.Constant))
    return [text for text in strings if isinstance(text, str)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
