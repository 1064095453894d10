"""References in INI files: setup.cfg, tox.ini, pytest.ini, .coveragerc, mypy.ini, logging configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import project
from migrate.imports.text.nodes import Atoms, Format, Node, finish
from migrate.imports.text.plan import Plan
from migrate.imports.text.values import Walker
from migrate.imports.text.view import Builder, View, cut

_LINE = re.compile(r"(?P<body>[^\r\n]*)(?:\r\n|\r|\n|$)")
_SECTION = re.compile(r"\[(?P<name>[^\]]*)\]")
_OPTION = re.compile(r"(?P<name>[^\s=:\[#;][^=:]*?)[ \t]*(?:[=:][ \t]*(?P<value>.*)|$)")
_MYPY = re.compile(r"mypy-(?P<modules>.*)")


@dataclass(slots=True)
class _Option:
    name: tuple[int, int]
    lines: list[tuple[int, int]] = field(default_factory=list)


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite an INI file."""
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    root = parse(text)
    for section, options in root.pairs:
        found = _MYPY.fullmatch(section.text)
        if found is not None and section.view is not None:
            at = section.start + found.start("modules")
            project.names(plan, cut(text, at, section.end))
        keys = project.ini_keys(section.text)
        for name, value in options.pairs:
            if keys is not None and name.view is not None:
                keys(plan, name.view)
            _value(plan, section.text, name.text, value)
    return finish(plan, FORMAT, root)


def _value(plan: Plan, section: str, option: str, value: Node) -> None:
    if value.view is None or not plan.mentions(value.view.text):
        return
    action = project.ini_action(section, option)
    if action is not None:
        action(plan, value.view)
    else:
        Walker(plan).walk(value, (section, option))


def parse(text: str) -> Node:
    """Return sections as pairs of a mapping, each a mapping of its options; anything can be read."""
    root = Node("map", 0, len(text))
    current = Node("map", 0, 0)
    for section, option in _options(text):
        if section is not None:
            current = Node("map", section[1], section[1])
            root.pairs.append((_plain(text, *section), current))
        if option is not None:
            if not root.pairs:
                root.pairs.append((Node("str", 0, 0, lambda: cut("", 0, 0)), current))
            end = option.lines[-1][1] if option.lines else option.name[1]
            start = option.lines[0][0] if option.lines else end
            value = Node("str", start, end, lambda option=option: _joined(text, option.lines))  # type: ignore[misc]
            current.pairs.append((_plain(text, *option.name), value))
    return root


def _plain(text: str, start: int, end: int) -> Node:
    return Node("str", start, end, lambda: cut(text, start, end))


def _joined(text: str, lines: list[tuple[int, int]]) -> View:
    """Return the lines of a value without their indentation; a line break is one character."""
    builder = Builder()
    for index, (start, end) in enumerate(lines):
        if index:
            builder.decoded("\n", lines[index - 1][1], lines[index - 1][1])
        builder.raw(text, start, end)
    return builder.view()


def _options(text: str) -> Iterator[tuple[tuple[int, int] | None, _Option | None]]:
    """Yield a section's name or an option, in order."""
    option: _Option | None = None
    for line in _LINE.finditer(text):
        body, at = line["body"], line.start()
        if not body.strip() or body.lstrip()[0] in "#;":
            continue
        inner = at + len(body) - len(body.lstrip())
        if option is not None and body[0] in " \t":
            option.lines.append((inner, at + len(body.rstrip())))
            continue
        if option is not None:
            yield None, option
            option = None
        section = _SECTION.match(body)
        found = _OPTION.match(body)
        if section is not None:
            yield (at + section.start("name"), at + section.end("name")), None
        elif found is not None:
            option = _Option((at + found.start("name"), at + found.end("name")))
            if found["value"]:
                option.lines.append((at + found.start("value"), at + found.end("value")))
    if option is not None:
        yield None, option


def _atoms(text: str) -> Atoms | None:
    """Sections, options and values without their places, as lines."""
    found: Atoms = []
    for section, options in parse(text).pairs:
        found.append(("section", section.text))
        for name, value in options.pairs:
            found += [("option", name.text), ("value", value.text)]
    return found


FORMAT = Format(parse, _atoms)
