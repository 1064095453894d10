"""Gives the keys of a file the spellings of the schema, before bases are applied, so that inheritance sees one name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bem_core.config.findings import Finding
from bem_core.config.legacy_names import RENAMED, SECTIONS, VALUES
from bem_core.config.merge import Directives, dotted, typed_equal
from bem_core.config.merge import Path as KeyPath
from bem_core.config.resolver import Layer, value_at
from bem_core.config.schema import show
from bem_core.config.yaml_reader import Document

_ABSENT: Any = object()


@dataclass(slots=True)
class _Rewrite:
    document: Document
    delete: str
    data: dict[Any, Any] = field(default_factory=dict)
    origins: dict[KeyPath, KeyPath] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # The mappings of `data` that are not the document's own, by id.
    made: set[int] = field(default_factory=set)


def legacy_layer(path: Path, document: Document, directives: Directives) -> Layer:
    """Make the overlay of a document, with the names of the schema."""
    if not any(_old_keys(document.data, directives.delete)):
        return Layer(path, document, document.data)
    work = _Rewrite(document, directives.delete)
    # What has its own name already goes first, so that an old name can be compared with it.
    moves = list(_moves(document.data, directives.delete))
    for old, new, value in sorted(moves, key=lambda move: move[0] != move[1]):
        _put(work, old, new, value)
    return Layer(path, document, work.data, work.origins, tuple(work.findings), tuple(work.problems))


def _old_keys(data: dict[Any, Any], delete: str) -> Iterator[KeyPath]:
    return (old for old, new, _ in _moves(data, delete) if old != new)


def _moves(data: dict[Any, Any], delete: str) -> Iterator[tuple[KeyPath, KeyPath, Any]]:
    """Yield each key of the first two levels: its path, the path in the schema, its value."""
    for section, value in data.items():
        if section == delete and isinstance(value, list):
            yield from _deletions((), (), value, delete)
        elif not isinstance(value, dict):
            yield (section,), RENAMED.get((section,), (section,)), value
        elif not value:
            yield (section,), (SECTIONS.get(section, section),), value
        else:
            yield from _moves_in(section, value, delete)


def _moves_in(section: Any, data: dict[Any, Any], delete: str) -> Iterator[tuple[KeyPath, KeyPath, Any]]:
    known = SECTIONS.get(section, section)
    for key, value in data.items():
        if key == delete and isinstance(value, list):
            yield from _deletions((section,), (known,), value, delete)
        else:
            yield (section, key), RENAMED.get((known, key), (known, key)), value


def _deletions(
    section: KeyPath, known: KeyPath, names: list[Any], delete: str
) -> Iterator[tuple[KeyPath, KeyPath, Any]]:
    """Yield the keys that a directive deletes as directives at the places where the schema has them."""
    for name in names:
        target = _target((*known, name), not known)
        yield (*section, delete), (*target[:-1], delete), [target[-1]]


def _target(path: KeyPath, top: bool) -> KeyPath:
    name = path[-1]
    if not isinstance(name, str):
        return path
    return (SECTIONS[name],) if top and name in SECTIONS else RENAMED.get(path, path)


def _put(work: _Rewrite, old: KeyPath, new: KeyPath, value: Any) -> None:
    if old in VALUES:
        value = VALUES[old].get(value, _ABSENT) if isinstance(value, bool) else value
    if old != new:
        _tell(work, old, new, value)
    if value is _ABSENT:
        return
    held = value_at(work.data, new, _ABSENT)
    if new[-1] == work.delete and isinstance(held, list):
        held.extend(value)
        return
    if held is not _ABSENT:
        _compare(work, old, new, held, value)
        return
    _set(work, old, new, value)


def _set(work: _Rewrite, old: KeyPath, new: KeyPath, value: Any) -> None:
    target = work.data
    for part in new[:-1]:
        below = target.setdefault(part, {})
        if not isinstance(below, dict):
            _compare(work, old, new, below, value)
            return
        if id(below) not in work.made:
            target[part] = below = dict(below)
            work.made.add(id(below))
        target = below
    target[new[-1]] = list(value) if new[-1] == work.delete and isinstance(value, list) else value
    if old != new:
        work.origins[new] = old


def _tell(work: _Rewrite, old: KeyPath, new: KeyPath, value: Any) -> None:
    where = work.document.locate(old, key=True)
    if old[-1] == work.delete:
        message = f"deletes {dotted((*new[:-1], *value))} under a legacy name"
    elif value is _ABSENT:
        message = f"legacy switch that is off says nothing; write {dotted(new)}: 'no' where a base turns it on"
    else:
        message = f"legacy name of {dotted(new)}"
    work.findings.append(Finding(where, "legacy-name", dotted(old), message))


def _compare(work: _Rewrite, old: KeyPath, new: KeyPath, held: Any, value: Any) -> None:
    if typed_equal(held, value):
        return
    first = work.origins.get(new, new)
    where, other = work.document.locate(old, key=True), work.document.locate(first, key=True)
    message = f"legacy name of {dotted(new)}, which is {show(value)} here and {show(held)} at {other}"
    work.problems.append(f"{where}: {dotted(old)}: {message}")
