"""Import roots of a repository: the folders that stand on ``sys.path`` when its code runs."""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SRC_NAMES = {"src", "lib", "python"}
_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", "tox.ini", ".git")
# Files read to see how a doubtful folder's packages are imported: enough to meet one such import.
_SAMPLE = 64


def find_roots(
    project_root: Path, paths: Sequence[Path], declared: Sequence[Path], python_dirs: Iterable[str]
) -> list[Path]:
    """Return the import roots as absolute paths, the most specific (deepest) first.

    Declared roots are taken as they are. Otherwise a root is: the folder above each topmost package; a ``src`` folder
    that holds modules or packages; what the packaging and test settings name; the project root; and a given path
    outside of it. A folder without ``__init__.py`` is a namespace package, and no root, when it lies inside a package
    or when imports spell it so (``google/cloud`` of ``import google.cloud.storage``).

    Args:
        project_root: The folder of ``pyproject.toml`` or ``.git``.
        paths: What the user named.
        declared: Values of ``--source-root``.
        python_dirs: The folders in which Python files were found.
    """
    if declared:
        return _ordered(os.path.abspath(root) for root in declared)
    project = os.path.abspath(project_root)
    folders = sorted({os.path.abspath(folder) for folder in python_dirs})
    search = _Search(project)
    configured = {*_from_pyproject(project), *_from_ini(project), *_from_setup_py(project)}
    roots = {root for root in configured if os.path.isdir(root)}
    for root, packages in search.tops(folders).items():
        if root in roots or search.is_root(root, packages):
            roots.add(root)
    roots.update(folder for folder in _src_folders(project, folders) if not search.enclosing(folder))
    roots.update(_outside(project, paths, search))
    if not search.is_package(project) or any(os.path.exists(os.path.join(project, name)) for name in _MARKERS):
        roots.add(project)
    return _ordered(roots)


def _ordered(roots: Iterable[str]) -> list[Path]:
    return [Path(root) for root in sorted(set(roots), key=lambda root: (-root.count(os.sep), root))]


class _Search:
    """Climbs from folders to the tops of their packages; answers of the file system are remembered."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._packages: dict[str, bool] = {}

    def is_package(self, folder: str) -> bool:
        if folder not in self._packages:
            self._packages[folder] = os.path.isfile(os.path.join(folder, "__init__.py"))
        return self._packages[folder]

    def tops(self, folders: Iterable[str]) -> dict[str, set[str]]:
        """Return, for each folder above a topmost package, the packages in it."""
        tops: dict[str, set[str]] = {}
        for folder in folders:
            if self.is_package(folder):
                parent = os.path.dirname(folder)
                while self.is_package(parent) and parent != folder:
                    folder, parent = parent, os.path.dirname(parent)
                tops.setdefault(parent, set()).add(folder)
        return tops

    def enclosing(self, folder: str) -> bool:
        """Tell whether ``folder`` or one above it, inside the project, is a package."""
        while folder.startswith(self._project + os.sep):
            if self.is_package(folder):
                return True
            folder = os.path.dirname(folder)
        return False

    def is_root(self, folder: str, packages: set[str]) -> bool:
        """Tell a root from a namespace package or from a package whose ``__init__.py`` was forgotten."""
        if not folder.startswith(self._project + os.sep):
            return True
        inside = self.enclosing(folder)
        if os.path.basename(folder) in _SRC_NAMES and not inside:
            return True
        as_root, as_namespace = self._spellings(folder, packages)
        return as_root or not (inside or as_namespace)

    def _spellings(self, folder: str, packages: set[str]) -> tuple[bool, bool]:
        """Tell whether files near ``packages`` import them as ``package``, and as ``folder.package``."""
        names = "|".join(re.escape(os.path.basename(package)) for package in sorted(packages))
        head = rb"^[ \t]*(?:from|import)[ \t]+"
        as_root = re.compile(head + rb"(?:%b)\b" % names.encode(), re.MULTILINE)
        chain = os.path.relpath(folder, self._project).split(os.sep)
        spelled = "|".join(re.escape(".".join(chain[start:])) for start in range(len(chain)))
        as_namespace = re.compile(head + rb"(?:%b)\.(?:%b)\b" % (spelled.encode(), names.encode()), re.MULTILINE)
        texts = list(_sample([folder, *sorted(packages)]))
        return any(map(as_root.search, texts)), any(map(as_namespace.search, texts))


def _sample(folders: Iterable[str]) -> Iterator[bytes]:
    files = (path for folder in folders for path in sorted(Path(folder).glob("*.py")))
    for _, path in zip(range(_SAMPLE), files, strict=False):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def _src_folders(project: str, folders: Iterable[str]) -> Iterator[str]:
    """Yield the ``src`` folders below the project that hold modules or packages, also those without ``__init__.py``."""
    for folder in folders:
        for place in (folder, os.path.dirname(folder)):
            if os.path.basename(place) == "src" and place.startswith(project + os.sep):
                yield place


def _outside(project: str, paths: Sequence[Path], search: _Search) -> Iterator[str]:
    for path in paths:
        folder = os.path.abspath(path if path.is_dir() else path.parent)
        if folder != project and not folder.startswith(project + os.sep) and not search.is_package(folder):
            yield folder


def _from_pyproject(project: str) -> Iterator[str]:
    """Yield the folders that setuptools, hatch, poetry and pytest are told of."""
    try:
        data = tomllib.loads(Path(project, "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return
    values: list[object] = [
        _get(data, "tool", "setuptools", "package-dir", ""),
        *_items(_get(data, "tool", "setuptools", "packages", "find", "where")),
        *_items(_get(data, "tool", "pytest", "ini_options", "pythonpath")),
        *(_get(package, "from") for package in _items(_get(data, "tool", "poetry", "packages"))),
        *map(_parent, _items(_get(data, "tool", "hatch", "build", "targets", "wheel", "packages"))),
    ]
    yield from _existing(project, values)


def _from_ini(project: str) -> Iterator[str]:
    """Yield the folders named in setup.cfg, pytest.ini and tox.ini, ``PYTHONPATH`` of tox among them."""
    for name in ("setup.cfg", "pytest.ini", "tox.ini"):
        ini = configparser.RawConfigParser(strict=False)
        try:
            ini.read(os.path.join(project, name), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        values: list[str] = []
        for section in ("pytest", "tool:pytest"):
            values += ini.get(section, "pythonpath", fallback="").split()
        values += ini.get("options.packages.find", "where", fallback="").split()
        values += re.findall(r"^\s*=\s*(\S+)", ini.get("options", "package_dir", fallback=""), re.MULTILINE)
        for section in ini.sections():
            for key in ("setenv", "set_env"):
                found = re.findall(r"^\s*PYTHONPATH\s*=\s*(.+)$", ini.get(section, key, fallback=""), re.MULTILINE)
                values += [part for line in found for part in line.strip().split(":")]
        yield from _existing(project, values)


def _from_setup_py(project: str) -> Iterator[str]:
    """Yield the folder of ``package_dir={"": "src"}`` and ``find_packages("src")``."""
    try:
        text = Path(project, "setup.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    patterns = (
        r"""package_dir\s*=\s*\{\s*(?:""|'')\s*:\s*["']([^"']+)["']""",
        r"""find(?:_namespace)?_packages\(\s*(?:where\s*=\s*)?["']([^"']+)["']""",
    )
    yield from _existing(project, [value for pattern in patterns for value in re.findall(pattern, text)])


def _existing(project: str, values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and value:
            place = os.path.normpath(os.path.join(project, re.sub(r"\{tox_?ini_?dir\}|\{toxinidir\}", ".", value)))
            if "{" not in place and "$" not in place and os.path.isdir(place):
                yield place


def _get(data: object, *keys: str) -> object:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _items(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _parent(value: object) -> object:
    return (os.path.dirname(value) or ".") if isinstance(value, str) else None
