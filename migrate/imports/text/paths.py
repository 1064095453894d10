"""Paths of moved modules in text: reported, never rewritten, because whether the file moves too isn't known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrate.imports.context import Context
from migrate.moves import Moves

# Where a path can begin: at a boundary, below a folder `src`, after `./` or after `${VARIABLE}/`.
_BEFORE = r"(?:(?<![\w./\-:@$%\\}])|(?<=\bsrc/)|(?<=\./)|(?<=\}/))"
_STEM = re.compile(r"(?P<parts>[^\W\d]\w*(?:/[^\W\d]\w*)*)(?P<tail>\.pyi?\b|/)?")


@dataclass(frozen=True, slots=True)
class Index:
    """What a list of moves says about paths.

    Attributes:
        moves: The list.
        roots: Finds the first component of any old name, or its path.
        path: Finds a text that begins like the path of an old name, after folders that may lead to it.
        beginnings: What stands in every text that has such a path.
    """

    moves: Moves
    roots: re.Pattern[str]
    path: re.Pattern[str]
    beginnings: tuple[str, ...]


_last: list[Index] = []


def index(moves: Moves) -> Index:
    """Return the index of a list; the last one is kept, because a run uses one list for all files."""
    if not _last or _last[0].moves is not moves:
        parts = [old.split(".") for old in moves.entries]
        first = {old[0] for old in parts}
        second = {old[old[0] == "src" and len(old) > 1] for old in parts}
        names, below = _alternatives(first), _alternatives(second)
        beginnings = tuple(sorted(name + end for name in first | second for end in ("/", ".py")))
        roots = re.compile(rf"(?<![^\W_])(?:{names}|{below})(?!\w)")
        _last[:] = [Index(moves, roots, re.compile(rf"{_BEFORE}(?=(?:{names}|{below})(?:/|\.py))"), beginnings)]
    return _last[0]


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(set(names), key=lambda name: (-len(name), name)))) or "(?!)"


def find(text: str, ctx: Context) -> Iterator[tuple[int, int, str, str]]:
    """Find paths of modules that moved: ``bem2/router/x.py``, ``src/bem2/router/``.

    Yields:
        Start, end, message and hint of each.
    """
    done = 0
    known = index(ctx.moves)
    if not any(name in text for name in known.beginnings):
        return
    for found in known.path.finditer(text):
        start = found.start()
        stem = _STEM.match(text, start)
        if stem is None or start < done:
            continue
        tail, below_src = stem["tail"] or "", text.endswith("src/", 0, start)
        new = _new_path(stem["parts"].split("/"), tail.startswith("."), below_src, ctx)
        if new is not None:
            done = stem.end()
            yield start, stem.end(), f"{stem.group()} is the path of a moved module", f"it is {new}{tail} now"


def _new_path(parts: list[str], is_file: bool, below_src: bool, ctx: Context) -> str | None:
    """Return the new path without its suffix; None when the path isn't certain to be one of a moved module."""
    init = ["__init__"] if parts[-1] == "__init__" else []
    parts = parts[: len(parts) - len(init)]
    if not parts:
        return None
    dotted = ".".join(parts)
    target = ctx.moves.resolve(f"src.{dotted}" if below_src else dotted) or (
        ctx.moves.resolve(dotted) if below_src else None
    )
    if target is None or target.blocked or target.move.kind == "symbol":
        return None
    new = target.dotted.split(".")
    if parts[0] == "src" and new[0] != "src":
        new = ["src", *new]
    if parts[-len(new) :] == new:
        return None  # only the root left the name: the file stays where it is
    if len(parts) == 1 and not is_file and not below_src:
        return None
    if "." not in target.move.old and not is_file and not below_src and not _known(parts, ctx):
        return None
    return "/".join(new + init)


def _known(parts: list[str], ctx: Context) -> bool:
    """Tell whether the first two components are known to be a module."""
    dotted = ".".join(parts[:2])
    moves, tree = ctx.moves, ctx.tree
    if dotted in moves.entries or moves.leads_to(dotted):
        return True
    if tree is None:
        return False
    target = moves.resolve(dotted)
    return bool(tree.find(dotted) or (target and tree.find(target.dotted)))
