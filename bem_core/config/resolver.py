"""A file and its bases to one mapping, with the files that it comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from bem_core.config.findings import Finding
from bem_core.config.lookup import Lookup, find_root, shipped_templates
from bem_core.config.merge import (
    DEFAULT,
    DirectiveError,
    Directives,
    combine,
    disagreements,
    dotted,
    merge,
    typed_equal,
)
from bem_core.config.merge import Path as KeyPath
from bem_core.config.yaml_reader import Document, parse, read
from bem_core.errors import ConfigError, Location

OnDangling = Literal["error", "drop"]
_MAX_BASES = 50
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of those that a configuration is made of.

    Attributes:
        path: The file.
        document: What it says.
        data: Its overlay, with directives.
        origins: Paths of `data` that the text of the file spells in another way, with that spelling.
        findings: What a person should look at in it.
        problems: What is wrong in it though it can be read, as lines.
    """

    path: Path
    document: Document
    data: dict[Any, Any]
    origins: Mapping[KeyPath, KeyPath] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()

    def locate(self, path: KeyPath, key: bool = False) -> Location:
        """Say where the file has the value, or the key, that is at ``path`` of `data`."""
        return self.document.locate(self._spelled(path), key)

    def node(self, path: KeyPath) -> yaml.Node | None:
        """Return what the file has at ``path`` of `data`; None where it has nothing."""
        return self.document.find(self._spelled(path))

    def _spelled(self, path: KeyPath) -> KeyPath:
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return (*self.origins[path[:length]], *path[length:])
        return path


@dataclass(frozen=True, slots=True)
class Resolved:
    """A file with its bases applied.

    Attributes:
        path: The file.
        data: The mapping it stands for; no directives are left in it. Treat it as read-only: files share parts.
        layers: The files it is made of, each once, every base before what builds on it.
        findings: What a person should look at.
    """

    path: Path
    data: dict[Any, Any]
    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...] = ()


def plain_layer(path: Path, document: Document, directives: Directives) -> Layer:
    """Take a document as it is."""
    return Layer(path, document, document.data)


class Resolver:
    """Resolves files of one repository; each file is read once.

    Args:
        root: The repository; by default the one that holds the first file resolved.
        template_dirs: Where ``templates/...`` is looked up last; by default the shipped templates.
        directives: Names of the directives.
        on_dangling: Whether a base that does not exist is an error, or is left out with a finding.
        make_layer: Makes the overlay of a document; by default the document as it is.
    """

    def __init__(
        self,
        root: Path | None = None,
        template_dirs: Sequence[Path] | None = None,
        directives: Directives = DEFAULT,
        on_dangling: OnDangling = "error",
        make_layer: Callable[[Path, Document, Directives], Layer] = plain_layer,
    ) -> None:
        self._root = root
        self._template_dirs = shipped_templates() if template_dirs is None else template_dirs
        self._directives = directives
        self._drop = on_dangling == "drop"
        self._make_layer = make_layer
        self._texts: dict[Path, str] = {}
        self._done: dict[Path, Resolved] = {}
        self._lookup: Lookup | None = None
        self._shown = Path()
        self._folder = Path()

    def put(self, path: Path, text: str) -> None:
        """Take a text for a file that was not resolved yet, in place of what is on disk."""
        self._texts[_normal(path)] = text

    def resolve(self, path: Path) -> Resolved:
        """Resolve a file.

        Raises:
            ConfigError: It or a base cannot be read, a base is missing, outside the repository or part of a cycle, two
                bases disagree, or a directive cannot be followed.
        """
        real = _normal(path)
        self._shown, self._folder = path.parent, real.parent
        if self._lookup is None:
            root = find_root(real.parent) if self._root is None else self._root
            self._lookup = Lookup(root, self._template_dirs, self._is_file)
        if not real.is_relative_to(self._lookup.root):
            raise ConfigError(f"{path}: outside the repository {self._lookup.root}")
        return self._resolve(real, self._lookup, ())

    def _resolve(self, path: Path, lookup: Lookup, chain: tuple[Path, ...]) -> Resolved:
        if path not in self._done:
            layer = self._layer(path)
            names = self._names(layer)
            bases, findings = self._bases(layer, names, lookup, (*chain, path))
            data = self._merge(layer, bases)
            layers = {one.path: one for base in bases for one in base.layers} | {path: layer}
            found = [*(one for base in bases for one in base.findings), *findings, *layer.findings]
            self._done[path] = Resolved(path, data, tuple(layers.values()), tuple(dict.fromkeys(found)))
        return self._done[path]

    def _is_file(self, path: Path) -> bool:
        return path in self._texts or path.is_file()

    def _layer(self, path: Path) -> Layer:
        name = self._name(path)
        document = parse(self._texts[path], name) if path in self._texts else read(path, name)
        return self._make_layer(path, document, self._directives)

    def _name(self, path: Path) -> str:
        """Return the name of a file as it looks from where the user named the first one."""
        if self._lookup and not path.is_relative_to(self._lookup.root):
            return str(path)
        return os.path.normpath(self._shown / os.path.relpath(path, self._folder))

    def _names(self, layer: Layer) -> list[str]:
        key = self._directives.base
        names = layer.data.get(key)
        names = [] if names is None else names if isinstance(names, list) else [names]
        if not all(isinstance(name, str) for name in names):
            escaped = self._directives.escape(key, top=True)
            reason = f"expected the path of a base or a list of them; data under that name is written {escaped!r}"
            raise ConfigError(f"{layer.locate((key,))}: {key}: {reason}")
        if len(names) > _MAX_BASES:
            raise ConfigError(f"{layer.locate((key,))}: {key}: more than {_MAX_BASES} bases")
        return names

    def _bases(
        self, layer: Layer, names: list[str], lookup: Lookup, chain: tuple[Path, ...]
    ) -> tuple[list[Resolved], list[Finding]]:
        key = self._directives.base
        bases, findings = [], []
        for number, name in enumerate(names):
            where = layer.locate((key, number) if isinstance(layer.data[key], list) else (key,))
            try:
                found = lookup.find(name, layer.path.parent)
            except ConfigError as error:
                raise ConfigError(f"{where}: {key}: {error}") from error
            if found is not None:
                self._check_chain(where, (*chain, found))
                bases.append(self._resolve(found, lookup, chain))
            elif self._drop:
                message = f"there is no file {name!r}, so nothing of it is applied"
                findings.append(Finding(where, "dangling-base", key, message))
            else:
                searched = (
                    f"beside it, in its parents up to {lookup.root}, and for templates/... in the shipped templates"
                )
                raise ConfigError(f"{where}: {key}: there is no file {name!r}; looked {searched}")
        return bases, findings

    def _check_chain(self, where: Location, chain: tuple[Path, ...]) -> None:
        if chain[-1] in chain[:-1]:
            cycle = chain[chain.index(chain[-1]) :]
            raise ConfigError(f"{where}: bases in a circle: {' -> '.join(map(self._name, cycle))}")
        if len(chain) > _MAX_BASES:
            raise ConfigError(f"{where}: more than {_MAX_BASES} bases on top of each other")

    def _merge(self, layer: Layer, bases: list[Resolved]) -> dict[Any, Any]:
        try:
            data = merge(_fold(bases), layer.data, self._directives)
            conflicts = list(self._conflicts(layer, bases))
        except DirectiveError as error:
            where = layer.locate((*error.path, self._directives.delete))
            raise ConfigError(f"{where}: {error}") from error
        if conflicts:
            raise ConfigError("\n".join(conflicts))
        return data

    def _conflicts(self, layer: Layer, bases: list[Resolved]) -> Iterator[str]:
        """Yield a line for each leaf where two bases disagree and their order decides what the file gets."""
        for number, second in enumerate(bases):
            for first in bases[:number]:
                paths = list(disagreements(first.data, second.data))
                if not paths:
                    continue
                others = [base for base in bases if base is not first and base is not second]
                one, other = (
                    merge(_fold([*others, *pair]), layer.data, self._directives)
                    for pair in ((first, second), (second, first))
                )
                for path in paths:
                    if not typed_equal(value_at(one, path, _ABSENT), value_at(other, path, _ABSENT)):
                        yield self._conflict(layer, path, first, second)

    def _conflict(self, layer: Layer, path: KeyPath, first: Resolved, second: Resolved) -> str:
        said = " and ".join(
            f"{value_at(base.data, path)!r} ({holder(base.layers, path).locate(path)}, through {self._name(base.path)})"
            for base in (first, second)
        )
        where = layer.locate((self._directives.base,))
        return f"{where}: {dotted(path)}: the bases disagree: {said}; set it in {layer.document.source}"


def resolve(
    path: Path | str,
    root: Path | None = None,
    template_dirs: Sequence[Path] | None = None,
    directives: Directives = DEFAULT,
    on_dangling: OnDangling = "error",
) -> Resolved:
    """Apply the bases of one file; `Resolver` says what the arguments mean, and serves several files faster.

    Raises:
        ConfigError: See `Resolver.resolve`.
    """
    return Resolver(root, template_dirs, directives, on_dangling).resolve(Path(path))


def holder(layers: Sequence[Layer], path: KeyPath) -> Layer:
    """Return the layer that wrote the value at ``path`` last, or what is left of the path when it leads into a list."""
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if value_at(layer.data, path[:length], _ABSENT) is not _ABSENT:
                return layer
    return layers[-1]


def value_at(data: Any, path: KeyPath, default: Any = None) -> Any:
    """Return the value at ``path``, or ``default`` when a part of it is not there."""
    for part in path:
        if not isinstance(data, dict) or part not in data:
            return default
        data = data[part]
    return data


def _fold(bases: Sequence[Resolved]) -> dict[Any, Any]:
    data: dict[Any, Any] = {}
    for base in bases:
        data = combine(data, base.data)
    return data


def _normal(path: Path) -> Path:
    """Return the file below the real path of its folder; a link keeps its own name, since bases are beside the link."""
    return path.parent.resolve() / path.name
