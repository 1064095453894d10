"""References in YAML: configuration, continuous integration, compose files."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import quoting, shell
from migrate.imports.text.nodes import Atoms, Format, Node, finish
from migrate.imports.text.plan import Plan
from migrate.imports.text.values import KEYS, KIND, Walker
from migrate.imports.text.view import LINE_BREAK, Builder, View, cut, with_prefix

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PROPERTIES = re.compile(r"(?:[&!][^\s\[\]{},]*(?:\s+|$))*")
_PYTHON_TAG = re.compile(
    r"!!?(?:<tag:yaml\.org,2002:)?(?:python/)?(?:name|object|module|new|obj|apply|object/\w+):([\w.:]+)"
)
_HEADER = re.compile(r"[|>](?P<indicators>[+\-0-9]*)[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n|$)")
_ANY_KEY = "|".join(map(re.escape, sorted(KEYS)))
_KEYED = re.compile(
    rf"^[ \t]*(?:-[ \t]+)*([\"']?)(?:{_ANY_KEY})\1[ \t]*:[ \t]+([\"']?)([\w.:]+)\2[ \t]*(?:#.*)?\r?$",
    re.MULTILINE,
)


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a YAML file; one that isn't YAML (a template) line by line."""
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    root = parse(text)
    if root is None:
        return _by_line(plan)
    walker = Walker(plan)
    for document in root.items:
        walker.walk(document)
    return finish(plan, FORMAT, root)


def _by_line(plan: Plan) -> Rewrite:
    shell.fill(plan)
    for found in _KEYED.finditer(plan.text):
        if "." in found[3] or ":" in found[3]:
            plan.here(*found.span(3), KIND)
    return plan.leftovers()


def parse(text: str) -> Node | None:
    """Return the documents of a YAML text as one sequence; None when it isn't YAML."""
    try:
        documents = list(yaml.compose_all(text, Loader=_LOADER))
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    converted: dict[int, Node] = {}
    return Node("seq", 0, len(text), items=[_converted(text, item, converted) for item in documents if item])


def _converted(text: str, node: yaml.Node, done: dict[int, Node]) -> Node:
    if id(node) in done:
        return done[id(node)]
    start, end = node.start_mark.index, node.end_mark.index
    done[id(node)] = found = Node("other", start, end, tag=_tag(text, start, end))
    if isinstance(node, MappingNode):
        found.kind = "map"
        found.pairs = [(_converted(text, key, done), _converted(text, value, done)) for key, value in node.value]
    elif isinstance(node, SequenceNode):
        found.kind = "seq"
        found.items = [_converted(text, item, done) for item in node.value]
    elif isinstance(node, ScalarNode) and (node.tag.endswith(":str") or not node.tag.startswith("tag:yaml.org,2002:")):
        found.kind = "str"
        found.decode = _decoder(text, node)
    return found


def _tag(text: str, start: int, end: int) -> tuple[int, int] | None:
    properties = _PROPERTIES.match(text, start, end)
    found = _PYTHON_TAG.search(text, start, properties.end()) if properties and properties.end() > start else None
    return found.span(1) if found else None


def _decoder(text: str, node: ScalarNode) -> Callable[[], View | None]:
    def decode() -> View | None:
        properties = _PROPERTIES.match(text, node.start_mark.index, node.end_mark.index)
        start = properties.end() if properties else node.start_mark.index
        view = _decoded(text, start, node.end_mark.index, node.style or "", node.value)
        return view if view is not None and view.text == node.value else None

    return decode


def _decoded(text: str, start: int, end: int, style: str, value: str) -> View | None:
    if style in ("|", ">"):
        return _block(text, start, end, style, value)
    if style in ("'", '"'):
        return quoting.folded(text, start + 1, end - 1, style)
    if text[start:end] == value:
        return cut(text, start, end, quoting.safe)
    return quoting.folded(text, start, start + len(text[start:end].rstrip()), "")


def _block(text: str, start: int, end: int, style: str, value: str) -> View | None:
    """Decode a block scalar; its value says how many line breaks are kept at the end."""
    header = _HEADER.match(text, start)
    if header is None:
        return None
    lines: list[tuple[int, int, int]] = []  # start, end without the break, end
    at = header.end()
    while at < end:
        found = LINE_BREAK.search(text, at, end)
        lines.append((at, found.start(), found.end()) if found else (at, end, end))
        at = lines[-1][2]
    first = next((line for line in lines if text[line[0] : line[1]].strip(" ")), None)
    if first is None:
        return None
    body = text[first[0] : first[1]]
    indent = len(body) - len(body.lstrip(" "))
    digit = re.search(r"\d", header["indicators"])
    if digit is not None:
        indent = min((len(body) - len(body.lstrip(" ")) for body in _bodies(text, lines)), default=indent)
    builder = _literal(text, lines, indent) if style == "|" else _folded_block(text, lines, indent)
    view = builder.view(with_prefix(" " * indent) if style == "|" else quoting.safe)
    return (
        View(value, view.starts[: len(value)], view.ends[: len(value)], view.encode) if _starts(view, value) else None
    )


def _bodies(text: str, lines: list[tuple[int, int, int]]) -> list[str]:
    return [text[first:last] for first, last, _ in lines if text[first:last].strip(" ")]


def _starts(view: View, value: str) -> bool:
    return view.text.startswith(value) and not view.text[len(value) :].strip("\n")


def _literal(text: str, lines: list[tuple[int, int, int]], indent: int) -> Builder:
    builder = Builder()
    for start, end, after in lines:
        builder.raw(text, min(start + indent, end), end)
        builder.decoded("\n", end, after)
    return builder


def _folded_block(text: str, lines: list[tuple[int, int, int]], indent: int) -> Builder:
    """Join lines of a folded scalar: one break between two plain lines is a space, further ones are kept."""
    builder = Builder()
    waiting: list[tuple[int, int]] = []  # breaks since the last line with text
    plain_before = True
    for start, end, after in lines:
        body = min(start + indent, end)
        if body == end:
            waiting.append((end, after))
            continue
        plain = text[body] not in " \t"
        if len(waiting) == 1 and plain and plain_before and builder.parts:
            builder.decoded(" ", *waiting[0])
        else:
            skip = 1 if plain and plain_before and builder.parts else 0
            for place in waiting[skip:]:
                builder.decoded("\n", *place)
        builder.raw(text, body, end)
        waiting, plain_before = [(end, after)], plain
    for place in waiting:
        builder.decoded("\n", *place)
    return builder


def _atoms(text: str) -> Atoms | None:
    try:
        documents = list(yaml.compose_all(text, Loader=_LOADER))
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    found: Atoms = []
    stack: list[yaml.Node] = [item for item in reversed(documents) if item]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            found.append(("alias", ""))
            continue
        seen.add(id(node))
        tag = "" if _PYTHON_TAG.search(node.tag.replace("tag:yaml.org,2002:", "!!")) else node.tag
        if isinstance(node, ScalarNode):
            found.append((tag, f"{node.tag} {node.value}"))
        else:
            found.append((tag, str(len(node.value))))
            below = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
            stack += reversed(below)
    return found


FORMAT = Format(parse, _atoms)
