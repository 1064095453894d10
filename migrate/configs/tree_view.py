"""Draws the hierarchy of configurations: in the terminal, or as one page of HTML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from html import escape
from typing import Any

from migrate.configs.hierarchy import Hierarchy, Member
from migrate.configs.view import counted

_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1800px;padding:0 1em;color:#1c2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}code,td,th{font-family:ui-monospace,monospace;font-size:12px}
ul{list-style:none;border-left:1px solid #ccd3dc;padding-left:1rem;margin:.2rem 0}.n{color:#5b6775}
table{border-collapse:collapse}td,th{border:1px solid #dde3ea;padding:1px 6px;text-align:left;vertical-align:top}
details{margin:.2rem 0}details table{margin:0 0 1rem 1rem}summary{cursor:pointer}
.k{columns:3 20rem;padding:0;border:0}.k b{display:inline-block;min-width:1.6rem;text-align:center;margin-right:.4rem}
.w{overflow:auto;max-height:90vh;border:1px solid #dde3ea}.w th{position:sticky;top:0;background:#f4f6f9}
.w th:not(:first-child){writing-mode:vertical-rl;writing-mode:sideways-lr;padding:6px 1px;font-weight:normal}
.w th{vertical-align:bottom}
.w td{text-align:center;padding:1px 3px;min-width:1.2rem}.w td:first-child{text-align:left;padding:1px 6px}
.w td:first-child,.w th:first-child{position:sticky;left:0;background:#f4f6f9;z-index:1}
.w th:first-child{z-index:2;vertical-align:bottom}.own{background:#fff1d6}.w tr:hover td{outline:1px solid #8a97a6}
"""
_LONGEST = 60


def tree(hierarchy: Hierarchy) -> Any:
    """Return a tree that rich can print."""
    from rich.tree import Tree

    top = Tree("configurations", hide_root=True)
    for name in hierarchy.roots():
        _grow(hierarchy, top, name)
    return top


def _grow(hierarchy: Hierarchy, above: Any, name: str, parent: str = "") -> None:
    from rich.text import Text

    member = hierarchy.members[name]
    style = "bold" if member.template else ""
    node = above.add(Text.assemble((name, style), (f"  {_counts(hierarchy, member, parent)}", "dim")))
    for user in _users(hierarchy, name):
        _grow(hierarchy, node, user, name)


def _users(hierarchy: Hierarchy, name: str) -> list[str]:
    """Return what extends a template: templates first."""
    users = hierarchy.users.get(name, [])
    return sorted(users, key=lambda user: (not hierarchy.members[user].template, user))


def _counts(hierarchy: Hierarchy, member: Member, parent: str = "") -> str:
    """Return what is said beside a name, with the bases that it has besides the one that it is drawn under."""
    others = [base for base in member.bases if base != parent] if parent else []
    also = f", also on {', '.join(others)}" if others else ""
    if member.template:
        below = hierarchy.below(member.name)
        return f"{below} file{'s' * (below != 1)}, {member.own} leaves of its own{also}"
    return f"{member.own} of {member.total} leaves its own{also}"


def page(hierarchy: Hierarchy, title: str) -> str:
    """Return one HTML page that needs nothing else: the hierarchy, each template, and where each leaf comes from."""
    templates = [member for member in hierarchy.members.values() if member.template]
    files = [member for member in hierarchy.members.values() if not member.template]
    own, total = sum(member.own for member in hierarchy.members.values()), sum(member.total for member in files)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{counted(len(files), 'file')} on {counted(len(templates), 'template')}: "
        f"{total} leaves written as {own}.</p>",
        *(f"<p><b>{escape(path)}</b>: {escape(reason)}</p>" for path, reason in hierarchy.broken),
        "<h2>Hierarchy</h2>",
        "<ul>",
        *(line for name in hierarchy.roots() for line in _branch(hierarchy, name)),
        "</ul>",
        "<h2>Templates</h2>",
        *(line for member in templates for line in _template(hierarchy, member)),
        "<h2>Where each leaf comes from</h2>",
        "<p>Rows are the leaves that a template gives to at least one file, columns are files. A number stands for a "
        "template, a dot for the file itself; an empty cell means that the file has no such leaf. Point at a cell to "
        "see the value.</p>",
        *_matrix(templates, files),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _branch(hierarchy: Hierarchy, name: str, parent: str = "") -> Iterator[str]:
    member = hierarchy.members[name]
    label = f"<b>{escape(name)}</b>" if member.template else escape(name)
    yield f'<li>{label} <span class="n">{escape(_counts(hierarchy, member, parent))}</span>'
    users = _users(hierarchy, name)
    if users:
        yield "<ul>"
        for user in users:
            yield from _branch(hierarchy, user, name)
        yield "</ul>"
    yield "</li>"


def _template(hierarchy: Hierarchy, member: Member) -> Iterator[str]:
    extends = f"Extends {escape(', '.join(member.bases))}. " if member.bases else ""
    users = ", ".join(hierarchy.users.get(member.name, []))
    yield f"<details><summary><b>{escape(member.name)}</b> {escape(_counts(hierarchy, member))}</summary>"
    yield f"<p>{extends}Extended by {escape(users)}.</p><table>"
    for path, (origin, value) in member.origins.items():
        if origin == member.name:
            yield f"<tr><td>{escape(_dotted(path))}</td><td>{escape(_short(value))}</td></tr>"
    yield "</table></details>"


def _matrix(templates: list[Member], files: list[Member]) -> Iterator[str]:
    numbers = {member.name: number for number, member in enumerate(templates, 1)}
    hues = (f".t{n}{{background:hsl({n * 137.5 % 360:.0f} 65% 87%)}}" for n in numbers.values())
    yield f"<style>{''.join(hues)}</style>"
    yield '<ul class="k">'
    yield from (f'<li><b class="t{number}">{number}</b>{escape(name)}</li>' for name, number in numbers.items())
    yield "</ul>"
    yield '<div class="w"><table><tr><th>leaf</th>'
    yield from (f"<th>{escape(member.name)}</th>" for member in files)
    yield "</tr>"
    holders = Counter(path for member in files for path in member.origins)
    shared = {path for member in files for path, (origin, _) in member.origins.items() if origin != member.name}
    for path in sorted(shared, key=lambda path: (-holders[path], _dotted(path))):
        cells = "".join(_cell(member, path, numbers) for member in files)
        yield f"<tr><td>{escape(_dotted(path))}</td>{cells}</tr>"
    yield "</table></div>"


def _cell(member: Member, path: tuple[Any, ...], numbers: dict[str, int]) -> str:
    if path not in member.origins:
        return "<td></td>"
    origin, value = member.origins[path]
    said = escape(_short(value), quote=True)
    if origin == member.name:
        return f'<td class="own" title="{said}">&bull;</td>'
    number = numbers.get(origin, 0)
    return f'<td class="t{number}" title="{said}">{number}</td>'


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
