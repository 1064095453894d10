"""The rules of ``.gitignore`` files, nested ones too, for a walk that goes from outer folders to inner ones.

One regular expression a file, tested against git itself by generated patterns. The package pathspec (1.1.1) fails that
test: for it a line ``/`` ignores everything, ``***`` and ``[[:alpha:]]`` mean something else than for git, and after
``!*`` a line ``a`` does not ignore the folder ``a``. Which files a run touches must be what git says.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
_TOKEN = re.compile(
    r"(?P<middle>(?<![^/])\*\*+/)|(?P<tail>(?<![^/])\*\*+\Z)|(?P<stars>\*+)|(?P<any>\?)|\\(?P<escaped>.)"
    r"|\[(?P<no>[!^])?(?P<set>(?:\]|\[:[a-z]+:\]|\\.|[^\]\\])(?:\[:[a-z]+:\]|\\.|[^\]\\])*)\]|(?P<bad>[\\[])|(?P<plain>.)",
    re.DOTALL,
)
_MEMBER = re.compile(r"\[:(?P<posix>[a-z]+):\]|(?P<low>\\.|.)(?:-(?P<high>\\.|[^\\]))?", re.DOTALL)


_NONE = (sys.maxsize, False)


class _Rule(NamedTuple):
    ignores: bool
    anchored: bool  # compared with the whole path, and else with the name
    regex: str


class _Alternatives:
    """One regular expression for several rules, each given with its rank."""

    def __init__(self, ranked: Sequence[tuple[int, _Rule]]) -> None:
        self._found = [(rank, rule.ignores) for rank, rule in ranked]
        self._regex = re.compile("|".join(f"({rule.regex})" for _, rule in ranked) or "(?!)", re.DOTALL)

    def first(self, text: str) -> tuple[int, bool]:
        """Return the rank of the first rule that matches, and whether it ignores."""
        match = self._regex.fullmatch(text)
        return self._found[match.lastindex - 1] if match and match.lastindex else _NONE


class Globs:
    """Patterns as in ``.gitignore``; the last one that matches decides.

    Args:
        lines: The patterns; comments and what git cannot read are passed over.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        rules = [rule for line in lines if (rule := _rule(line))]
        rules.reverse()  # the first alternative that matches wins
        self._by_name = _Alternatives([(i, rule) for i, rule in enumerate(rules) if not rule.anchored])
        self._by_path = _Alternatives([(i, rule) for i, rule in enumerate(rules) if rule.anchored])

    def decide(self, path: str) -> bool | None:
        """Return whether the patterns take this path itself, or None when none matches.

        Args:
            path: Relative to the folder of the patterns; a folder ends with a slash.
        """
        name = path[path.rfind("/", 0, -1) + 1 :]
        found = min(self._by_name.first(name), self._by_path.first(path))
        return found[1] if found[0] < _NONE[0] else None

    def take(self, path: str) -> bool:
        """Tell whether the patterns take this path or a folder around it."""
        ends = [i + 1 for i, letter in enumerate(path[:-1]) if letter == "/"]
        return any(self.decide(path[:end]) for end in (*ends, len(path)))


class Rules(NamedTuple):
    """The rules that hold in a folder.

    Attributes:
        chain: Those of the folders around it, outermost first, each with the length of its folder's path and slash.
    """

    chain: tuple[tuple[int, Globs], ...] = ()

    def ignore(self, real: str, is_folder: bool) -> bool:
        """Tell whether an entry of the folder is ignored: the innermost file with a rule for it decides.

        The folders around the entry must not be ignored: nothing in an ignored folder can be un-ignored.
        """
        for skip, globs in reversed(self.chain):
            found = globs.decide(real[skip:] + "/" * is_folder)
            if found is not None:
                return found
        return False

    def extended(self, folder: str, file: str = ".gitignore") -> Rules:
        """Return these rules and those of a file in ``folder``."""
        try:
            text = Path(folder, file).read_bytes().decode("utf-8-sig", "surrogateescape")
        except OSError:
            return self
        globs = Globs(line.removesuffix("\r") for line in text.split("\n"))
        return Rules((*self.chain, (len(folder.rstrip("/")) + 1, globs)))


def rules_above(folder: str, root: str) -> Rules:
    """Return the rules that hold for ``folder`` from outside it, up to the repository around ``root``.

    None do for a folder that is ignored itself: whoever names it wants what is in it.
    """
    top = _repository(root)
    inside = os.path.relpath(folder, top)
    if inside.split("/")[0] == "..":
        return Rules()
    rules = Rules().extended(top, ".git/info/exclude")
    parts = [] if inside == "." else inside.split("/")
    here = top
    for part in parts:
        rules = rules.extended(here)
        here = os.path.join(here, part)
        if rules.ignore(here, is_folder=True):
            return Rules()
    return rules


def malformed(globs: Sequence[str]) -> list[str]:
    """Return those globs that can match nothing."""
    return [glob for glob in globs if _rule(glob) is None]


def _repository(root: str) -> str:
    for folder in (Path(root), *Path(root).parents):
        if (folder / ".git").exists():
            return str(folder)
    return root


def _rule(line: str) -> _Rule | None:
    """Return the rule of a line; None for one that is no pattern."""
    line = re.sub(r"((?:[^\\ ]|\\.| +(?=[^ ]))*) *", r"\1", line, count=1, flags=re.DOTALL)
    ignores = not line.startswith("!")
    pattern = line if ignores else line[1:]
    if line.startswith("#") or not pattern.strip("/"):
        return None
    only_folders = pattern.endswith("/")
    pattern = pattern[:-1] if only_folders else pattern
    anchored = "/" in pattern
    try:
        regex = _translate(pattern.removeprefix("/"), anchored)
    except (ValueError, re.error):
        return None
    # A star that is a whole part of the path stands for one letter at least.
    return _Rule(ignores, anchored, regex + "(?<!/)" * (regex[-1:] in "*+") + ("/" if only_folders else "/?"))


def _translate(pattern: str, anchored: bool) -> str:
    """Return a regular expression for a glob.

    Raises:
        ValueError: A bracket is not closed, or a backslash ends the pattern.
    """
    parts = []
    for found in _TOKEN.finditer(pattern):
        name, text = found.lastgroup, found[0]
        if name == "bad":
            raise ValueError(pattern)
        if name == "set":
            parts.append(_set(found["set"], negated=found["no"] is not None))
        elif name == "middle" and anchored:
            parts.append("(?:.*/)?")
        elif name == "tail" and anchored:
            parts.append(".+")
        elif name in ("middle", "tail", "stars"):
            parts.append("[^/]*" + "/" * text.endswith("/"))
        elif name == "any":
            parts.append("[^/]")
        else:
            parts.append(re.escape(found["escaped"] or text))
    return "".join(parts)


def _set(members: str, negated: bool) -> str:
    parts = []
    for found in _MEMBER.finditer(members):
        if found["posix"]:
            if found["posix"] not in _POSIX:
                raise ValueError(members)
            parts.append(_POSIX[found["posix"]])
            continue
        low = found["low"][-1]
        high = (found["high"] or low)[-1]
        parts.append(f"{re.escape(low)}-{re.escape(max(low, high))}")  # git takes [b-a] for [b]
    inner = "".join(parts)
    if negated:
        return f"[^/{inner}]"
    return f"(?!/)[{inner}]"
