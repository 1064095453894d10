"""One configuration file, read so that it can be compared and edited; or the reason why it is left alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from bem_core.config.merge import DEFAULT
from bem_core.config.yaml_reader import LOADER, Document, YamlError, parse
from migrate.configs.codes import CodeError, code, scalar
from migrate.configs.layout import Entry, Layout, LayoutError, lay_out
from migrate.sources import Decoded, DecodeError, decode, encode

BASE, DELETE = DEFAULT.base, DEFAULT.delete
_SUSPECT = re.compile(r"[&*!%]")
_BREAKS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(slots=True)
class LeftAlone:
    """A file that is not rewritten.

    Attributes:
        path: The file.
        reason: Why, in one line.
    """

    path: str
    reason: str


@dataclass(eq=False)
class Source:
    """A file that can be rewritten.

    Attributes:
        path: As the user would name it.
        raw: Its bytes; None for a file that is not there yet.
        decoded: Its text and how to encode it.
        document: Its text as YAML.
        order: Whether the order of keys in lists of mappings counts.
    """

    path: str
    raw: bytes | None
    decoded: Decoded
    document: Document
    order: bool = False

    @property
    def text(self) -> str:
        """The text."""
        return self.document.text

    @property
    def newline(self) -> str:
        """The line end that most lines have."""
        return "\r\n" if self.text.count("\r\n") * 2 > self.text.count("\n") else "\n"

    @cached_property
    def layout(self) -> Layout:
        """Where its keys are."""
        return lay_out(self.text, self.document.node)

    @cached_property
    def coded(self) -> dict[str, Any]:
        """Its data with a code for each leaf, without ``base_config``; ``_delete_`` is as in the file."""
        data = self.document.data
        return {key: value for key, value in _coded(self.layout.entries, data, self.order).items() if key != BASE}

    @property
    def bases(self) -> tuple[str, ...] | None:
        """What ``base_config`` names; None when it has a value that names nothing."""
        value = self.document.data.get(BASE, ())
        if isinstance(value, str):
            return (value,)
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        return None

    def bytes_of(self, text: str) -> bytes:
        """Return what the file holds when its text is ``text``."""
        return encode(text, self.decoded)


def _coded(entries: list[Entry], data: Mapping[str, Any], order: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for entry in entries:
        value = data[entry.key]
        if entry.key == DELETE:
            result[entry.key] = value
        elif entry.children is not None:
            result[entry.key] = _coded(entry.children, value, order)
        else:
            result[entry.key] = {} if isinstance(entry.value, yaml.MappingNode) else code(entry.value, order)
    return result


def read(path: str, order: bool = False, directives: bool = False) -> Source | LeftAlone:
    """Read a file.

    Args:
        path: The file.
        order: Whether the order of keys counts.
        directives: Whether the file may delete keys of its bases; a file without bases has no use for that.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        return LeftAlone(path, f"cannot be read: {error.strerror or error}")
    return from_bytes(path, raw, order, directives)


def from_bytes(path: str, raw: bytes, order: bool = False, directives: bool = False) -> Source | LeftAlone:
    """Do as `read` with the bytes of a file."""
    try:
        decoded = decode(raw, python=False)
        _check_text(decoded.text)
        source = Source(path, raw, decoded, parse(decoded.text, path), order)
        _check_keys(source, directives)
        _ = source.coded
    except YamlError as error:
        return LeftAlone(path, f"line {error.location.line}: {error.reason}" if error.location.line else error.reason)
    except (DecodeError, LayoutError, CodeError) as error:
        return LeftAlone(path, str(error))
    return source


def from_text(path: str, text: str, order: bool = False) -> Source:
    """Return a source for a text of our own.

    Raises:
        BemError: It is no text that could be edited.
    """
    return Source(path, None, Decoded(text, "utf-8", b""), parse(text, path), order)


def _check_text(text: str) -> None:
    """Refuse what the two versions of YAML read in different ways, and what editing by lines would break."""
    if found := _BREAKS.search(text):
        raise LayoutError(f"line {text.count(chr(10), 0, found.start()) + 1}: a line end other than LF and CRLF")
    if not _SUSPECT.search(text):
        return
    try:
        for event in yaml.parse(text, LOADER):
            _check_event(event)
    except yaml.YAMLError:
        return  # the parser says it better


def _check_event(event: Any) -> None:
    line = event.start_mark.line + 1
    if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
        raise LayoutError(f"line {line}: a YAML directive")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise LayoutError(f"line {line}: an anchor or alias ({event.anchor!r})")
    if getattr(event, "tag", None):
        raise LayoutError(f"line {line}: a tag ({event.tag!r})")


def _check_keys(source: Source, directives: bool) -> None:
    if not source.document.node.value:
        raise LayoutError("empty")
    _check_mapping(source.document.node, directives or bool(source.document.data.get(BASE)))


def _check_mapping(node: yaml.MappingNode, directives: bool) -> None:
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == _MERGE:
            raise LayoutError(f"line {line}: a merge key")
        if scalar(key) != repr(key.value):
            raise LayoutError(f"line {line}: the key {key.value!r} is not a text ({scalar(key)})")
        stem = key.value.rstrip("_")
        if stem == DELETE.rstrip("_") and key.value.startswith(DELETE) and not (directives and key.value == DELETE):
            raise LayoutError(f"line {line}: the key {key.value!r}, which means something to the loader")
        if stem == BASE and key.value != BASE:
            raise LayoutError(f"line {line}: the key {key.value!r}, which means something to the loader")
        if isinstance(value, yaml.MappingNode):
            _check_mapping(value, directives)


def relative(path: str, folder: str) -> str:
    """Return ``path`` relative to ``folder``, with ``/``."""
    return os.path.relpath(path, folder).replace(os.sep, "/")
