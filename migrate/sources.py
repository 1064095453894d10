"""Find the files of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from bem_core.errors import BemError, nearest
from migrate.sources_ignore import Globs, Rules, malformed, rules_above
from migrate.sources_text import Decoded, DecodeError, decode, encode

__all__ = ["DecodeError", "Decoded", "Listing", "SourceError", "SourceFile", "decode", "encode", "find", "project_root"]

_ROOT_MARKS = (".bem-migrate", ".git", "pyproject.toml")
_PRUNED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
_HIDDEN_KEPT = frozenset({".github", ".circleci"})  # CI workflows live there


class SourceError(BemError):
    """A path that was given does not exist, or a glob is malformed."""


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A file to look at.

    Attributes:
        path: As the user would name it: the given path and what follows.
        kind: What `find`'s ``classify`` said.
        size: Bytes.
    """

    path: str
    kind: str
    size: int


@dataclass(slots=True)
class Listing:
    """What a search found, each list in order of the paths.

    Attributes:
        files: The files to look at; none twice.
        skipped: Left out by a rule that the user may not expect: ``(path, reason)``.
        errors: Could not be listed: ``(path, reason)``.
    """

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)


def project_root(paths: Iterable[str | Path]) -> Path:
    """Return the nearest folder around all the paths with ``.bem-migrate``, ``.git`` or ``pyproject.toml``.

    Without one it is the common folder itself. Links are resolved first, so the result is a real path.
    """
    reals = [os.path.realpath(path) for path in paths] or [os.getcwd()]
    common = Path(os.path.commonpath([real if os.path.isdir(real) else os.path.dirname(real) for real in reals]))
    for folder in (common, *common.parents):
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folder
    return common


def find(
    paths: Sequence[str | Path],
    kinds: Collection[str],
    include: Sequence[str],
    exclude: Sequence[str],
    project_root: Path,
    classify: Callable[[str], str | None],
) -> Listing:
    """List the files of the wanted kinds under ``paths``, in the same order each time.

    Below a given folder these are left out: what ``.gitignore`` files and ``.git/info/exclude`` name, virtual
    environments, ``__pycache__``, ``node_modules``, ``site-packages``, hidden folders except those of CI, and links,
    which are never followed. A given path itself is taken whatever it is called, unless ``exclude`` names it.

    Args:
        paths: Files and folders; they may overlap.
        kinds: The kinds wanted.
        include: Globs as in ``.gitignore``, relative to ``project_root``; without any, all files are.
        exclude: The same for what is left out.
        project_root: A real path, as `project_root` returns it.
        classify: Returns the kind of a file, given its path relative to ``project_root`` with ``/``; None for no kind.

    Raises:
        SourceError: Paths that do not exist, all of them in one error, or a malformed glob.
    """
    _require(paths, (*include, *exclude))
    search = _Search(
        kinds=frozenset(kinds),
        include=Globs(include) if include else None,
        exclude=Globs(exclude) if exclude else None,
        root=os.path.realpath(project_root),
        classify=classify,
        given=tuple(os.path.realpath(path) for path in paths),
    )
    for path in paths:
        search.add(os.path.normpath(path))
    return search.listing()


def _require(paths: Sequence[str | Path], globs: Sequence[str]) -> None:
    problems = [
        f"no such file or folder: {os.fspath(path)!r}{_near(path)}" for path in paths if not os.path.exists(path)
    ]
    problems += [f"malformed glob {glob!r}: expected a pattern as in .gitignore" for glob in malformed(globs)]
    if problems:
        raise SourceError("\n".join(problems))


def _near(path: str | Path) -> str:
    """Name the entry that the first missing part of ``path`` may have meant."""
    missing = Path(path)
    if missing.is_symlink():
        return ", a broken link"
    while not missing.parent.exists():
        missing = missing.parent
    try:
        return nearest(missing.name, os.listdir(missing.parent))
    except OSError:
        return ""


class _Folder(NamedTuple):
    shown: str  # prefix for the paths of its entries
    real: str
    rel: str  # the same relative to the project root
    rules: Rules
    given: bool


@dataclass
class _Search:
    kinds: frozenset[str]
    include: Globs | None
    exclude: Globs | None
    root: str
    classify: Callable[[str], str | None]
    given: tuple[str, ...]
    files: dict[str, SourceFile] = field(default_factory=dict)  # by real path, so that overlapping paths give one
    skipped: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def listing(self) -> Listing:
        return Listing(
            sorted(self.files.values(), key=attrgetter("path")),
            sorted(self.skipped.items()),
            sorted(self.errors.items()),
        )

    def add(self, path: str) -> None:
        real = os.path.realpath(path)
        rel = _relative(real, self.root)
        if self.excluded(rel, os.path.isdir(real)):
            self.skipped[path] = "excluded by --exclude"
        elif os.path.isdir(real):
            self.walk(path, real, rel)
        else:
            self.add_file(path, real, rel)

    def add_file(self, path: str, real: str, rel: str) -> None:
        """Take a file that was named on the command line, or say why not."""
        kind = self.classify(rel)
        if kind is None:
            self.skipped[path] = "not a kind of file that can hold references"
        elif kind not in self.kinds:
            self.skipped[path] = f"of kind {kind!r}, which is not among the wanted ones"
        elif not self.included(rel):
            self.skipped[path] = "not among those of --include"
        elif not os.path.isfile(real):
            self.skipped[path] = "not a regular file"
        else:
            self.files.setdefault(real, SourceFile(path, kind, os.stat(real).st_size))

    def walk(self, path: str, real: str, rel: str) -> None:
        shown = "" if path == "." else path.rstrip("/") + "/"
        stack = [_Folder(shown, real, rel + "/" if rel else "", rules_above(real, self.root), given=True)]
        while stack:
            stack += self.visit(stack.pop())

    def visit(self, folder: _Folder) -> list[_Folder]:
        """Take the files of one folder and return the folders in it that are to be visited."""
        try:
            with os.scandir(folder.real) as found:
                entries = list(found)
        except OSError as error:
            self.errors[folder.shown.rstrip("/") or "."] = error.strerror or str(error)
            return []
        names = {entry.name for entry in entries}
        if "pyvenv.cfg" in names and not folder.given:
            return []
        rules = folder.rules.extended(folder.real) if ".gitignore" in names else folder.rules
        inner: list[_Folder] = []
        for entry in entries:
            if entry.is_symlink():
                self.note_link(entry, folder, rules)
            elif entry.is_dir(follow_symlinks=False):
                if self.wanted_folder(entry, folder, rules):
                    name = entry.name + "/"
                    inner.append(_Folder(folder.shown + name, entry.path, folder.rel + name, rules, given=False))
            else:
                self.take(entry, folder, rules)
        return inner

    def take(self, entry: os.DirEntry[str], folder: _Folder, rules: Rules) -> None:
        rel = folder.rel + entry.name
        kind = self.classify(rel)
        if kind not in self.kinds or kind is None or rules.ignore(entry.path, is_folder=False):
            return
        if not self.included(rel) or self.excluded(rel, is_folder=False):
            return
        shown = folder.shown + entry.name
        if not entry.is_file(follow_symlinks=False):
            self.skipped[shown] = "not a regular file"
            return
        try:
            self.files.setdefault(entry.path, SourceFile(shown, kind, entry.stat(follow_symlinks=False).st_size))
        except OSError as error:
            self.errors[shown] = error.strerror or str(error)

    def wanted_folder(self, entry: os.DirEntry[str], folder: _Folder, rules: Rules) -> bool:
        name = entry.name
        if name in _PRUNED or (name[0] == "." and name not in _HIDDEN_KEPT):
            return False
        return not rules.ignore(entry.path, is_folder=True) and not self.excluded(folder.rel + name, is_folder=True)

    def note_link(self, entry: os.DirEntry[str], folder: _Folder, rules: Rules) -> None:
        """Mention a link to something that a walk would have taken, unless the walk finds it where it is."""
        rel = folder.rel + entry.name
        is_folder = entry.is_dir()
        if is_folder:
            wanted = self.wanted_folder(entry, folder, rules)
        else:
            kind = self.classify(rel)
            wanted = kind in self.kinds and not rules.ignore(entry.path, is_folder=False) and self.included(rel)
        if not wanted or self.excluded(rel, is_folder):
            return
        real = os.path.realpath(entry.path)
        if not os.path.exists(real):
            self.skipped[folder.shown + entry.name] = "a broken link"
        elif not any(_inside(real, given) for given in self.given):
            self.skipped[folder.shown + entry.name] = f"a link to {real}, outside the given paths"

    def included(self, rel: str) -> bool:
        return self.include is None or self.include.take(rel)

    def excluded(self, rel: str, is_folder: bool) -> bool:
        return self.exclude is not None and bool(rel) and self.exclude.take(rel + "/" * is_folder)


def _relative(real: str, root: str) -> str:
    """Return a path relative to the root with ``/``; "" for the root, and the path's name for what lies elsewhere."""
    if real == root:
        return ""
    return real[len(root.rstrip("/")) + 1 :] if _inside(real, root) else os.path.basename(real)


def _inside(real: str, folder: str) -> bool:
    return real == folder or real.startswith(folder.rstrip("/") + "/")
