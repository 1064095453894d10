"""YAML or JSON text to nodes that know their place, and the problems that a reader of them collects.

Nodes are composed and never constructed: they keep lines, repeated keys and tags, and nothing that a hostile file asks
for is built. Size, depth and number of problems are bounded, and so is the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import Resolver

from bem_core.errors import Location, nearest

MAX_CHARS = 4 * 2**20
MAX_DEPTH = 12
MAX_PROBLEMS = 1000
MAX_SHOWN = 80
TOO_LARGE = f"the file is too large; expected at most {MAX_CHARS // 2**20} MiB"

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset({None, "!", f"{_TAG}str", f"{_TAG}map", f"{_TAG}seq"})
_TYPES = {"null": "nothing", "int": "a number", "float": "a number", "bool": "a boolean", "timestamp": "a date"}
_SURROGATES = re.compile(r"(\\\\)|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)

Place = tuple[int, int]


class Stop(Exception):
    """Reading cannot go on; what was found so far has been recorded."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a file; lines and columns count from 1."""

    line: int
    column: int
    text: str


@dataclass(slots=True)
class Problems:
    """What is wrong with a file so far.

    Attributes:
        found: In the order of discovery.
    """

    found: list[Problem] = field(default_factory=list)

    def add(self, where: Place, what: str, expected: str = "", hint: str = "") -> None:
        """Record a problem; ``hint`` is what `bem_core.errors.nearest` returns.

        Raises:
            Stop: So much is wrong that going on would only cost time.
        """
        self.found.append(Problem(*where, what + (f"; expected {expected}" if expected else "") + hint))
        if len(self.found) >= MAX_PROBLEMS:
            raise Stop

    def unknown(self, where: Place, what: str, name: str, valid: Iterable[str]) -> None:
        """Record a name that is not one of the valid ones."""
        valid = list(valid)
        hint = nearest(name, valid) if len(name) <= MAX_SHOWN else ""
        self.add(where, f"unknown {what} {clip(name)}", f"one of {', '.join(valid)}", hint)

    def text(self, source: str) -> str:
        """Return one line for each problem, in the order of the file."""
        lines = [f"{Location(source, p.line, p.column)}: {p.text}" for p in sorted(set(self.found))]
        if len(self.found) >= MAX_PROBLEMS:
            lines.append(f"{source}: reading stopped after {MAX_PROBLEMS} problems")
        return "\n".join(lines)


def clip(text: str) -> str:
    """Quote a text from the file, shortened so that a message stays readable."""
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


def place(node: Node) -> Place:
    """Return the line and column of a node."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def kind_of(node: Node) -> str:
    """Return the short tag of a node: ``str``, ``int``, ``map``, ..."""
    return str(node.tag).removeprefix(_TAG)


def describe(node: Node) -> str:
    """Return what a node is, for messages."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if kind_of(node) == "str" and not node.value.strip():
        return "empty"
    return _TYPES.get(kind_of(node), "a text") + (f" ({clip(node.value)[1:-1]})" if node.value else "")


def compose(text: str, source: str, problems: Problems) -> Node | None:
    """Return the one document in ``text``, or None when it has none or cannot be read; the problem is recorded then."""
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_CHARS:
        problems.add((0, 0), TOO_LARGE)
        return None
    try:
        root = _Nodes(_as_yaml(text, source), problems).get_single_node()
    except json.JSONDecodeError as error:
        problems.add((error.lineno, error.colno), f"not valid JSON: {error.msg}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problems.add(where, f"not valid YAML: {error.problem or error.context}")
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        problems.add((before.count("\n") + 1, 0), f"not valid YAML: {error.reason}")
    except (ValueError, RecursionError) as error:
        problems.add((0, 0), f"not valid: {error}")
    else:
        if root is None:
            problems.add((1, 1), "the file is empty", "a list of moves")
        return root
    return None


def _as_yaml(text: str, source: str) -> str:
    """Return JSON so that a YAML parser reads the same from it: tabs as spaces, pairs of surrogates as one escape.

    In JSON a tab is never inside a string, so replacing it changes no value and moves no column.
    """
    if not source.endswith(".json") and text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        if source.endswith(".json") and text.strip():
            raise
        return text
    return _SURROGATES.sub(_join_surrogates, text.replace("\t", " "))


def _join_surrogates(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    return f"\\U{0x10000 + ((int(found[2], 16) - 0xD800) << 10) + int(found[3], 16) - 0xDC00:08x}"


class _Nodes(Composer, Resolver):
    """PyYAML's composer over the C parser, with a limit on depth and without aliases and types.

    The C composer has no such limits, and an alias makes a small file large.
    """

    def __init__(self, text: str, problems: Problems) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self.check_event, self.peek_event, self.get_event = parser.check_event, parser.peek_event, parser.get_event
        self.problems = problems
        self.depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose the next node of the document."""
        event = self.peek_event()
        mark: Any = event.start_mark
        where = mark.line + 1, mark.column + 1
        if isinstance(event, yaml.AliasEvent):
            self.problems.add(where, f"alias {clip(f'*{event.anchor}')}", "the value itself")
            self.get_event()
            known = self.anchors.get(event.anchor)
            return known if isinstance(known, ScalarNode) else ScalarNode(f"{_TAG}str", "alias", mark, mark)
        if event.tag not in _PLAIN_TAGS:
            self.problems.add(where, f"tag {clip(event.tag.replace(_TAG, '!!'))}", "a plain value")
        if self.depth == MAX_DEPTH:
            self.problems.add(where, "nested too deeply", f"at most {MAX_DEPTH} levels")
            raise Stop
        self.depth += 1
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node
