"""Checks that need a whole list of moves: names said twice, moves without an end, names that are two things at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.moves import Move, Moves
from migrate.nodes import Place, Problems, clip

MAX_CHAIN = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """A move and how the file spelled it.

    Attributes:
        move: The move; its line is that of the old name.
        column: Column of the old name.
        bare: Whether the new name of a symbol was written without a colon, so that it may be a module by mistake.
    """

    move: Move
    column: int
    bare: bool = False

    @property
    def where(self) -> Place:
        """Line and column."""
        return self.move.line, self.column


def check(entries: Sequence[Entry], problems: Problems) -> dict[str, Move]:
    """Report what is wrong between entries, and return them by their old name."""
    first = _unique(entries, problems)
    _changing(first.values(), problems)
    _ending(first, problems)
    _one_kind(first.values(), problems)
    return {old: entry.move for old, entry in first.items()}


def _unique(entries: Iterable[Entry], problems: Problems) -> dict[str, Entry]:
    first: dict[str, Entry] = {}
    for entry in entries:
        move, before = entry.move, first.setdefault(entry.move.old, entry).move
        if before is move:
            continue
        old = clip(move.old)
        if (before.new, before.blocked) == (move.new, move.blocked):
            problems.add(entry.where, f"{old} is listed twice, first at line {before.line}", "one entry")
        else:
            what = f"{old} has two new names: {_fate(before)} at line {before.line} and {_fate(move)} here"
            problems.add(entry.where, what, "one entry")
    return first


def _fate(move: Move) -> str:
    return clip(move.new) if move.new else "none (removed)"


def _changing(entries: Iterable[Entry], problems: Problems) -> None:
    for entry in entries:
        if entry.move.old == entry.move.new:
            problems.add(entry.where, f"{clip(entry.move.old)} is its own new name", "another new name, or no entry")


def _ending(first: dict[str, Entry], problems: Problems) -> None:
    """Report moves that lead back to themselves or grow for ever.

    Every name comes to rest if the new name of every entry does: a step that uses up a part of the name behind the new
    one makes that part shorter, and all other steps are those of the new name alone.
    """
    moves = Moves({old: entry.move for old, entry in first.items() if old != entry.move.new})
    reported: set[frozenset[str]] = set()
    long = False
    for old, move in moves.entries.items():
        if move.blocked:
            continue
        names, loop = _follow(moves, move)
        if not loop and len(names) > MAX_CHAIN and not long:
            long = True  # the rest of the chain is too long as well
            what = f"a chain of more than {MAX_CHAIN} moves begins with {' -> '.join(names[:4])}"
            problems.add(first[old].where, what, "the last name as the new one")
        elif loop and frozenset(loop) not in reported:
            reported.add(frozenset(loop))
            ways = [_follow(moves, moves.entries[loop[0]]), (names, loop)]  # the first is shorter, and ends seldom
            names, loop = next(way for way in ways if way[1])
            problems.add(first[loop[0]].where, *_loop_message(loop, names))


def _follow(moves: Moves, move: Move) -> tuple[list[str], list[str]]:
    """Apply entry after entry to the new name of ``move``.

    Returns:
        The names on the way, and the old names of the entries that repeat, if any do; then the way starts there.
    """
    names, used = [move.old, move.new], [move.old]
    while len(names) <= MAX_CHAIN:
        step, rest = moves.match(names[-1])
        if step is None or step.blocked:
            return names, []
        names.append(f"{step.new}.{rest}" if rest else step.new)
        if step.old in used:
            start = used.index(step.old)
            return names[start:], used[start:]
        used.append(step.old)
    return names, []


def _loop_message(loop: list[str], names: list[str]) -> tuple[str, str]:
    if names[-2] == names[0]:
        return f"cycle: {' -> '.join(names[:-1])}", "moves that come to an end"
    what = f"the new name lies under the old one and would be rewritten again: {' -> '.join(names)} -> ..."
    return what, f"a new name outside {clip(loop[0])}, or one entry for each name under it that moves"


def _one_kind(entries: Iterable[Entry], problems: Problems) -> None:
    """Report names that one entry takes for a module and another for a name inside one."""
    entries = list(entries)
    symbols = {name: entry.move.line for entry in reversed(entries) for name in _symbol_names(entry.move)}
    modules = {entry.move.module: entry.move.line for entry in reversed(entries) if entry.move.kind != "auto"}
    for entry in entries:
        move = entry.move
        inside = next((name for name in prefixes(move.old) if name in symbols), "")
        if move.kind == "module" and inside:
            what = f"{clip(move.old)} cannot be a module: {clip(inside)} is a symbol at line {symbols[inside]}"
            problems.add(entry.where, what, "both of one kind")
        elif entry.bare and move.new in modules:
            what = f"{clip(move.old)} is a symbol, but {clip(move.new)} is a module at line {modules[move.new]}"
            name = f"{move.new}:{move.old.rpartition('.')[2]}"
            problems.add(entry.where, what, f"a name inside that module, such as {clip(name)}")


def _symbol_names(move: Move) -> Iterator[str]:
    """Yield the dotted names that ``move`` says are not modules."""
    if move.kind == "symbol":
        yield move.old
        yield from (f"{move.module}.{name}" for name in prefixes(move.attr) if name)


def prefixes(dotted: str) -> Iterator[str]:
    """Yield ``a``, ``a.b`` and ``a.b.c`` of ``a.b.c``."""
    parts = dotted.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts) + 1))
