"""YAML text to plain data with positions, for files that may be hostile: safe, and bounded in time and memory."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.constructor import SafeConstructor

from bem_core.config.merge import Path as KeyPath
from bem_core.errors import ConfigError, Location

# The pure Python loader gives the same, about nine times slower.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 1 << 20
MAX_DEPTH = 100
# Keys and values of one document, with aliases unfolded.
MAX_VALUES = 100_000
# Of the texts that are remembered.
_LONGEST = 60
# A number in base 60 takes quadratic time to read.
MAX_NUMBER = 500
# A composer recurses, libyaml's in C: far below what overflows its stack, far above what a person writes.
_SAFE_BOUND = 5_000 if hasattr(yaml, "CSafeLoader") else 0

_CORE = "tag:yaml.org,2002:"
_SCALARS = frozenset(_CORE + name for name in "null bool int float str timestamp".split())
_NUMBERS = frozenset(_CORE + name for name in "int float".split())
_MERGE = _CORE + "merge"

_Pair = tuple[yaml.Node, yaml.Node]
_PLAIN = (True, False)


class _Loader(LOADER):  # type: ignore[misc]
    """Finds the type of equal plain scalars once: matching them one by one is half of the time of reading."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Return the tag of a node that has none."""
        if kind is yaml.ScalarNode and implicit == _PLAIN and len(value) <= _LONGEST:
            return _tag_of(value)
        return super().resolve(kind, value, implicit)


@lru_cache(maxsize=1 << 16)
def _tag_of(text: str) -> str:
    loader = LOADER("")
    try:
        return str(loader.resolve(yaml.ScalarNode, text, _PLAIN))
    finally:
        loader.dispose()


class YamlError(ConfigError):
    """A file that is not one plain YAML mapping.

    Attributes:
        location: Where.
        reason: What is wrong, without the place.
    """

    def __init__(self, location: Location, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file.

    Attributes:
        source: Name of the file in messages.
        text: Its text without a byte order mark; line ends are as in the file.
        node: The composed mapping. Its marks count characters of `text` from 0; merge keys are still in it.
        data: The plain data: dicts, lists, strings, numbers, booleans, dates and None. Nothing in it is shared.
    """

    source: str
    text: str
    node: yaml.MappingNode
    data: dict[Any, Any]
    _children: dict[int, dict[Any, _Pair]] = field(default_factory=dict, compare=False, repr=False)

    def locate(self, path: KeyPath, key: bool = False) -> Location:
        """Say where the value at ``path`` begins, or its key; where the path ends early, its last part that exists."""
        found: _Pair = (self.node, self.node)
        for part in path:
            below = self._child(found[1], part)
            if below is None:
                break
            found = below
        return _location(found[0 if key else 1], self.source) if self.node.value else Location(self.source)

    def find(self, path: KeyPath) -> yaml.Node | None:
        """Return the node of the value at ``path``; None when there is none."""
        node: yaml.Node = self.node
        for part in path:
            below = self._child(node, part)
            if below is None:
                return None
            node = below[1]
        return node

    def _child(self, node: yaml.Node, part: Any) -> _Pair | None:
        """Return the nodes of a key and its value, or of a list element twice."""
        if isinstance(node, yaml.SequenceNode):
            return (node.value[part],) * 2 if isinstance(part, int) and 0 <= part < len(node.value) else None
        if not isinstance(node, yaml.MappingNode):
            return None
        if id(node) not in self._children:
            self._children[id(node)] = _pairs(node)
        return self._children[id(node)].get(part)


def read(path: Path, name: str | None = None) -> Document:
    """Read a file.

    Args:
        path: The file.
        name: What messages call it; by default the path as given.

    Raises:
        YamlError: It cannot be read, or `parse` refuses its text.
    """
    source = str(path) if name is None else name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise YamlError(Location(source), "not a regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlError(Location(source), error.strerror or str(error)) from error
    if len(raw) > MAX_BYTES:
        raise YamlError(Location(source), f"larger than {MAX_BYTES >> 20} MiB, which no configuration is")
    try:
        return parse(raw.decode("utf-8"), source)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise YamlError(Location(source, line), "not UTF-8") from error


def parse(text: str, source: str) -> Document:
    """Read a text.

    Args:
        text: YAML; a byte order mark at its start is left out of the result.
        source: What messages call it.

    Raises:
        YamlError: Not valid YAML, not exactly one mapping, a tag or key that is not plain, a key given twice, or more
            nesting, aliases or digits than a configuration has.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        raise YamlError(Location(source), f"larger than {MAX_BYTES >> 20} MiB, which no configuration is")
    try:
        if _depth_bound(text) > _SAFE_BOUND:
            _check_depth(text, source)
        node = _compose(text)
    except yaml.reader.ReaderError as error:
        raise YamlError(_at_offset(text, error.position, source), "a character that YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, source) from error
    if node is None:
        mark = yaml.Mark(source, 0, 0, 0, None, 0)
        return Document(source, text, yaml.MappingNode(_CORE + "map", [], mark, mark), {})
    if not isinstance(node, yaml.MappingNode):
        raise YamlError(_location(node, source), f"expected a mapping at the top, found a {_kind(node)}")
    if "*" in text:
        _check_size(node, source)
    else:
        _check_plain_size(node, source)
    return Document(source, text, node, _Builder(source).mapping(node))


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def _depth_bound(text: str) -> int:
    """Return a number that the nesting of ``text`` cannot exceed: a block level takes a column, or half of one."""
    return text.count("[") + text.count("{") + 2 * max(map(len, text.splitlines()), default=0)


def _check_depth(text: str, source: str) -> None:
    """Refuse deep nesting, reading no further than that; the parser does not recurse."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlError(_at(event.start_mark, source), f"nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_plain_size(root: yaml.Node, source: str) -> None:
    """Do as `_check_size` where there can be no alias, in half the time."""
    level: list[yaml.Node] = [root]
    size = depth = 0
    while level:
        size, depth = size + len(level), depth + 1
        if depth > MAX_DEPTH:
            raise YamlError(_location(level[0], source), f"nested more than {MAX_DEPTH} levels deep")
        level = [child for node in level for child in _children(node)]
    if size > MAX_VALUES:
        raise YamlError(Location(source), f"more than {MAX_VALUES} values, which no configuration has")


def _check_size(root: yaml.Node, source: str) -> None:
    """Refuse deep nesting and too many values, before any alias is unfolded.

    Walks the graph of nodes once, children before parents, so that its time is that of the text.
    """
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack = [(root, False)]
    while stack and len(sizes) <= MAX_VALUES:
        node, done = stack.pop()
        children = _children(node)
        if done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            depths[id(node)] = 1 + max((depths[id(child)] for child in children), default=0)
            if depths[id(node)] > MAX_DEPTH:
                raise YamlError(_location(node, source), f"nested more than {MAX_DEPTH} levels deep")
        elif id(node) in open_nodes:
            raise YamlError(_location(node, source), "an alias to a value from inside of it")
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in children]
    if stack or sizes[id(root)] > MAX_VALUES:
        raise YamlError(Location(source), f"more than {MAX_VALUES} values, which no configuration has")


class _Builder:
    """Makes plain data of composed nodes; an alias gives a copy."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._scalars: Any = SafeConstructor()

    def value(self, node: yaml.Node) -> Any:
        """Return the data of any node."""
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
            return [self.value(child) for child in node.value]
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        self._refuse_tag(node)

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """Return the data of a mapping; its own keys win over those of merge keys, which come first."""
        if node.tag != _CORE + "map":
            self._refuse_tag(node)
        result: dict[Any, Any] = {}
        seen: dict[Any, yaml.Node] = {}
        for key_node, _ in node.value:
            merge = key_node.tag == _MERGE
            key = (merge, None if merge else self._key(key_node))
            if key in seen:
                line = seen[key].start_mark.line + 1
                reason = f"the key {key_node.value!r} is there already, in line {line}"
                raise YamlError(_location(key_node, self._source), reason)
            seen[key] = key_node
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                result.update(self._merged(value_node))
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE:
                result[self._key(key_node)] = self.value(value_node)
        return result

    def _merged(self, node: yaml.Node) -> dict[Any, Any]:
        """Return what a merge key brings in: a mapping, or a list of them of which the first wins."""
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        if not isinstance(node, yaml.SequenceNode):
            raise YamlError(_location(node, self._source), f"expected a mapping to merge, found a {_kind(node)}")
        result: dict[Any, Any] = {}
        for child in reversed(node.value):
            if not isinstance(child, yaml.MappingNode):
                raise YamlError(_location(child, self._source), f"expected a mapping to merge, found a {_kind(child)}")
            result.update(self.mapping(child))
        return result

    def _key(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise YamlError(_location(node, self._source), f"a {_kind(node)} cannot be a key")
        key = self._scalar(node)
        if key != key:
            raise YamlError(_location(node, self._source), "nan cannot be a key, since it equals nothing")
        return key

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == _CORE + "str":
            return node.value
        if node.tag not in _SCALARS:
            self._refuse_tag(node)
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            raise YamlError(_location(node, self._source), f"a number of {len(node.value)} characters")
        try:
            return self._scalars.construct_object(node)
        except (ValueError, LookupError, AttributeError, OverflowError, yaml.YAMLError) as error:
            kind = node.tag.removeprefix(_CORE)
            reason = f"{node.value[:40]!r} is not a valid {kind}; quote it if it is a text"
            raise YamlError(_location(node, self._source), reason) from error

    def _refuse_tag(self, node: yaml.Node) -> NoReturn:
        tag = str(node.tag).replace(_CORE, "!!")
        raise YamlError(_location(node, self._source), f"the tag {tag[:80]} is not allowed; values are plain YAML")


def _pairs(node: yaml.MappingNode) -> dict[Any, _Pair]:
    """Return the nodes of each key and its value, those of merge keys too."""
    builder = _Builder("")
    result: dict[Any, _Pair] = {}
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            sources = [value_node] if isinstance(value_node, yaml.MappingNode) else value_node.value
            for source in reversed(sources):
                result |= _pairs(source)
    return result | {builder.value(pair[0]): pair for pair in node.value if pair[0].tag != _MERGE}


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    return "list" if isinstance(node, yaml.SequenceNode) else "scalar"


def _location(node: yaml.Node, source: str) -> Location:
    return _at(node.start_mark, source)


def _at(mark: Any, source: str) -> Location:
    return Location(source, mark.line + 1, mark.column + 1)


def _at_offset(text: str, offset: int, source: str) -> Location:
    before = text[:offset]
    return Location(source, before.count("\n") + 1, offset - before.rfind("\n"))


def _syntax_error(error: yaml.MarkedYAMLError, source: str) -> YamlError:
    mark = error.problem_mark or error.context_mark
    where = _at(mark, source) if mark else Location(source)
    if isinstance(error, yaml.composer.ComposerError) and "single document" in (error.context or ""):
        return YamlError(where, "several documents; one is expected")
    return YamlError(where, ", ".join(part for part in (error.context, error.problem) if part))
