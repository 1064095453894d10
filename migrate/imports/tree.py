"""Which modules exist where, found from files alone: nothing is imported or executed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from migrate.imports.exports import UNREADABLE, Bindings, bindings, parse
from migrate.imports.roots import find_roots

__all__ = ["Exports", "Tree", "absolute", "find_roots"]

# What every module has without binding it.
_IMPLICIT = frozenset(
    (
        "__annotations__",
        "__builtins__",
        "__cached__",
        "__dict__",
        "__doc__",
        "__file__",
        "__loader__",
        "__name__",
        "__package__",
        "__path__",
        "__spec__",
    )
)
# In the order in which one is taken when a folder has several for the same module: source before what is built from it.
_SUFFIXES = (".py", ".so", ".pyd", ".pyx", ".pyi")


@dataclass(frozen=True, slots=True)
class Exports:
    """What a module offers to importers.

    Attributes:
        names: Names bound at module level, star imports followed inside the tree; no submodules.
        complete: False when there may be others: a star import leads outside the tree, ``__getattr__`` is defined,
            names are bound by ``exec`` or ``globals()``, or the source does not parse.
        star: What ``from m import *`` binds; None when not sure.
    """

    names: frozenset[str]
    complete: bool
    star: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Entries:
    modules: dict[str, str]  # module name -> file name
    folders: frozenset[str]


_NOTHING = _Entries({}, frozenset())


def absolute(level: int, name: str, module: str, is_package: bool) -> str | None:
    """Return the module that ``from <level dots><name>`` means in ``module``; None when it climbs out of the top.

    ``absolute(2, "x", "a.b.c", False)`` is ``a.x``. Level 0 returns ``name``.
    """
    if level == 0:
        return name
    parts = module.split(".")
    keep = len(parts) - level + is_package
    return ".".join([*parts[:keep], *([name] if name else [])]) if keep > 0 else None


class Tree:
    """Modules under a list of import roots.

    Everything is looked up when asked for and remembered, so building one costs nothing and a copy sent to another
    process carries the roots alone. Files changed after a look-up are not seen.
    """

    def __init__(self, roots: Sequence[Path | str], known: dict[str, Bindings] | None = None) -> None:
        """Take the import roots, most specific first.

        Args:
            roots: Folders as they would stand on ``sys.path``.
            known: What files bind, by path; filled by this tree, and shared by trees that are given the same one.
        """
        self.roots: tuple[str, ...] = tuple(dict.fromkeys(os.path.abspath(root) for root in roots))
        self._bindings: dict[str, Bindings] = {} if known is None else known
        self._listed: dict[str, _Entries] = {}
        self._found: dict[str, str | None] = {}
        self._exported: dict[str, Exports | None] = {}

    def __reduce__(self) -> tuple[type[Tree], tuple[tuple[str, ...]]]:
        """Pickle the roots and none of what was looked up."""
        return Tree, (self.roots,)

    @cached_property
    def prefixes(self) -> dict[str, frozenset[str]]:
        """The dotted prefix that each root has under a root around it, and its top-level packages."""
        found: dict[str, frozenset[str]] = {}
        for inner in self.roots:
            for outer in self.roots:
                parts = os.path.relpath(inner, outer).split(os.sep)
                if inner != outer and all(part.isidentifier() for part in parts):
                    entries = self._entries(inner)
                    found[".".join(parts)] = frozenset(entries.modules) | entries.folders
        return found

    def modules(self, path: str) -> tuple[str, ...]:
        """Return the dotted names of a file, one for each root that contains it, in the order of the roots.

        A package's ``__init__.py`` has the package's name. Names with a part that is no identifier are left out. A
        file that a package of the same name hides has its name all the same: `find` tells which file Python takes.
        """
        stem, suffix = os.path.splitext(os.path.abspath(path))
        if suffix not in _SUFFIXES:
            return ()
        names: list[str] = []
        for root in self.roots:
            prefix = root if root.endswith(os.sep) else root + os.sep
            if stem.startswith(prefix):
                parts = stem[len(prefix) :].split(os.sep)
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                if parts and all(part.isidentifier() for part in parts):
                    names.append(".".join(parts))
        return tuple(names)

    def find(self, module: str) -> str | None:
        """Return the absolute path of a module's file, or of a namespace package's folder; None when there is none.

        A file under any root is preferred to a folder without ``__init__.py``, as Python does.
        """
        if module not in self._found:
            parts = module.split(".")
            places = [place for root in self.roots if (place := self._find_under(root, parts))]
            files = (place for place, is_file in places if is_file)
            self._found[module] = next(files, places[0][0] if places else None)
        return self._found[module]

    def exports(self, module: str) -> Exports | None:
        """Return what a module binds; None when it is not in the tree, or not as Python source."""
        if module not in self._exported:
            self._exported[module] = self._exports(module, frozenset())
        return self._exported[module]

    def has(self, module: str, name: str) -> bool | None:
        """Tell whether ``from module import name`` finds something; None when it cannot be known."""
        place = self.find(module)
        if place is None:
            return None
        exports = self.exports(module)
        if (exports and name in exports.names) or name in _IMPLICIT or self.find(f"{module}.{name}"):
            return True
        if exports is None:
            return False if os.path.splitext(place)[1] not in _SUFFIXES else None
        return False if exports.complete else None

    def _find_under(self, root: str, parts: Sequence[str]) -> tuple[str, bool] | None:
        """Return the place of a module under one root, and whether it is a file."""
        folder, last = root, len(parts) - 1
        for index, part in enumerate(parts):
            entries = self._entries(folder)
            inner = os.path.join(folder, part)
            init = self._entries(inner).modules.get("__init__") if part in entries.folders else None
            if init is None and part in entries.modules:
                return (os.path.join(folder, entries.modules[part]), True) if index == last else None
            if part not in entries.folders:
                return None
            if index == last:
                return (os.path.join(inner, init), True) if init else self._namespace(inner)
            folder = inner
        return None

    def _namespace(self, folder: str) -> tuple[str, bool] | None:
        """Return a folder that is a package without ``__init__.py``.

        Python takes any folder. One that has neither a module nor a folder that may hold some is data, or is what is
        left of a deleted package (``__pycache__``): counting it would hide imports that are broken.
        """
        entries = self._entries(folder)
        return (folder, False) if entries.modules or entries.folders else None

    def _entries(self, folder: str) -> _Entries:
        if folder not in self._listed:
            self._listed[folder] = _list(folder)
        return self._listed[folder]

    def _exports(self, module: str, busy: frozenset[str]) -> Exports | None:
        place = self.find(module)
        if place is None or not place.endswith(".py"):
            return None
        own = self._read(place)
        is_package = place.endswith("__init__.py")
        names, complete = set(own.names), own.complete
        for level, name in own.stars:
            source = absolute(level, name, module, is_package)
            if source is not None and source in busy | {module}:
                continue  # a cycle: those names are added where the walk began
            inner = self._exports(source, busy | {module}) if source else None
            if inner is None:
                complete = False
            else:
                names.update(_public(inner.names) if inner.star is None else inner.star)
                complete = complete and inner.star is not None
        if own.has_all or not complete:
            return Exports(frozenset(names), complete, own.all_names)
        loaded = _loaded(own, module) if is_package else set()
        return Exports(frozenset(names), complete, tuple(sorted(_public(names | loaded))))

    def _read(self, file: str) -> Bindings:
        if file not in self._bindings:
            try:
                source = Path(file).read_bytes()
            except OSError:
                source = b"\0"  # no parser takes it
            tree = parse(source)
            self._bindings[file] = UNREADABLE if tree is None else bindings(tree, source)
        return self._bindings[file]


def _loaded(own: Bindings, package: str) -> set[str]:
    """Return the submodules that a package's own imports load, which makes them its attributes."""
    modules = (absolute(level, name, package, True) or "" for level, name in own.loads)
    prefix = f"{package}."
    return {name[len(prefix) :].partition(".")[0] for name in modules if name.startswith(prefix)}


def _public(names: frozenset[str] | set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def _list(folder: str) -> _Entries:
    """Return the modules and sub-folders of a folder whose names can stand in an import."""
    found: dict[str, tuple[int, str]] = {}
    folders: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                if suffix in _SUFFIXES:
                    # Built modules carry a tag: x.cpython-311-x86_64-linux-gnu.so
                    name = stem.partition(".")[0] if suffix in (".so", ".pyd") else stem
                    found[name] = min(found.get(name, (99, "")), (_SUFFIXES.index(suffix), entry.name))
                elif entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir():
                    folders.add(entry.name)
    except OSError:
        return _NOTHING
    return _Entries({name: file for name, (_, file) in found.items()}, frozenset(folders))
