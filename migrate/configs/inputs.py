"""Finds and reads what a run works on: experiments, templates of earlier runs, and hand-written ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from bem_core.config.lookup import Lookup
from bem_core.config.merge import combine, merge
from bem_core.errors import BemError, ConfigError
from migrate import sources
from migrate.configs.findings import DANGLING, at
from migrate.configs.render import is_ours
from migrate.configs.source import BASE, LeftAlone, Source, read, relative
from migrate.report import Finding

Mode = Literal["write", "diff", "check"]
OnDangling = Literal["drop", "keep", "error"]


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        paths: Files and folders.
        root: Root of the project.
        mode: Whether to write, or to show only.
        templates: Folder of the templates; None for ``templates`` in the folder that holds the paths.
        max_depth: Most templates between a root and an experiment.
        max_templates: Most templates; None for no limit.
        min_support: Fewest files a template serves.
        default_share: Share of the files below a template that hold a value for it to be a default.
        order: Whether the order of keys counts.
        pins: Hand-written templates.
        on_dangling: What to do with a file whose base is not there.
        include: Globs; empty for all files.
        exclude: Globs.
        ignore: Codes of findings that nobody wants to see.
        jobs: Number of processes for the proof; 0 for one a core.
    """

    paths: tuple[str, ...]
    root: Path
    mode: Mode = "write"
    templates: str | None = None
    max_depth: int = 4
    max_templates: int | None = None
    min_support: int = 2
    default_share: float = 0.5
    order: bool = False
    pins: tuple[str, ...] = ()
    on_dangling: OnDangling = "drop"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    jobs: int = 0

    @property
    def home(self) -> str:
        """The folder that holds everything under the paths, as the user would name it."""
        folders = [path if os.path.isdir(path) else os.path.dirname(path) or "." for path in self.paths]
        return folders[0] if len(folders) == 1 else relative(os.path.commonpath(map(os.path.abspath, folders)), ".")

    @property
    def folder(self) -> str:
        """The folder of the templates."""
        return os.path.normpath(self.templates or os.path.join(self.home, "templates"))

    def name(self, path: str) -> str:
        """Return the name of a file in reports and headers: relative to what holds the templates."""
        return relative(path, os.path.dirname(os.path.abspath(self.folder)))


@dataclass
class Inputs:
    """What was read.

    Attributes:
        fresh: Files without bases that count, by name: those that a run looks at.
        kept: Files with bases, by name.
        bases: The bases of the kept files, by name: real paths.
        ours: Templates of earlier runs, by real path.
        pinned: Templates that are used and never changed, by real path.
        dropped: Names of the fresh files whose ``base_config`` means nothing.
        alone: Files left alone.
        findings: What a person must look at.
        skipped: Left out by a rule: path and reason.
        errors: Could not be listed: path and reason.
    """

    fresh: dict[str, Source] = field(default_factory=dict)
    kept: dict[str, Source] = field(default_factory=dict)
    bases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ours: dict[str, Source] = field(default_factory=dict)
    pinned: dict[str, Source] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    alone: list[LeftAlone] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)


def find_files(options: Options) -> sources.Listing:
    """Find what there is to read under the paths, templates included.

    Raises:
        BemError: A path does not exist.
    """
    return sources.find(options.paths, ("yaml",), options.include, options.exclude, options.root, is_yaml)


def gather(options: Options, listing: sources.Listing) -> Inputs:
    """Read everything that was found.

    Raises:
        BemError: A pinned template can't be used, the templates would lie outside the project, or a base is missing and
            that is to be an error.
    """
    if not _under(os.path.realpath(options.folder), str(options.root)):
        raise BemError(f"{options.folder}: outside the project {options.root}, so no experiment there could name it")
    if os.path.exists(options.folder) and not os.path.isdir(options.folder):
        raise BemError(f"{options.folder}: not a folder, so no templates can be in it")
    inputs = Inputs(skipped=listing.skipped, errors=listing.errors)
    for pin in sorted(options.pins):
        inputs.pinned[os.path.realpath(pin)] = _template(pin, options)
    for path in _templates_in(options.folder):
        source = read(path, options.order, directives=True)
        if isinstance(source, Source) and is_ours(source.text):
            inputs.ours.setdefault(os.path.realpath(path), source)
    folder = os.path.realpath(options.folder)
    paths = (file.path for file in listing.files if not _under(os.path.realpath(file.path), folder))
    for path in sorted(paths, key=options.name):
        if os.path.realpath(path) not in inputs.pinned:
            _take(read(path, options.order), inputs, options)
    missing = [f"{f.path}:{f.line}: {f.message}" for f in inputs.findings]
    if missing and options.on_dangling == "error":
        raise ConfigError("\n".join(missing))
    for name in [name for name in inputs.pinned if name in inputs.ours]:
        del inputs.ours[name]
    _leave_unresolved(inputs, options)
    return inputs


def is_yaml(path: str) -> str | None:
    """Return the kind of a file for `migrate.sources.find`: ``yaml`` or none."""
    return "yaml" if path.lower().endswith((".yaml", ".yml")) else None


def _under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _templates_in(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if is_yaml(name)]


def _template(path: str, options: Options) -> Source:
    source = read(path, options.order, directives=True)
    if isinstance(source, LeftAlone):
        raise ConfigError(f"{path}: cannot be used as a template: {source.reason}")
    if not _under(os.path.realpath(path), str(options.root)):
        raise ConfigError(f"{path}: outside the project {options.root}")
    return source


def _take(source: Source | LeftAlone, inputs: Inputs, options: Options) -> None:
    """Sort one file in."""
    if isinstance(source, LeftAlone):
        inputs.alone.append(source)
        return
    name = options.name(source.path)
    why = "" if _writable(source.path) else "read-only"
    if BASE in source.document.data:
        found, missing = _find(source, options)
        if missing is None:
            inputs.kept[name] = source
            inputs.bases[name] = tuple(found)
            return
        if options.on_dangling == "keep":
            why = f"its base_config {missing}"
        inputs.findings.append(_dangling(source, missing, bool(why)))
        if not why:
            inputs.dropped.add(name)
    if why:
        inputs.alone.append(LeftAlone(source.path, why))
    else:
        inputs.fresh[name] = source


def _writable(path: str) -> bool:
    return os.access(path, os.W_OK) and bool(os.stat(path).st_mode & stat.S_IWUSR)  # root may write everything


def _leave_unresolved(inputs: Inputs, options: Options) -> None:
    """Leave files alone whose bases can't be read."""
    chain = Chain({**inputs.pinned, **inputs.ours}, options.root)
    for name, bases in list(inputs.bases.items()):
        try:
            chain.joined(bases)
        except ConfigError as error:
            inputs.alone.append(LeftAlone(inputs.kept.pop(name).path, str(error)))
            del inputs.bases[name]


def _find(source: Source, options: Options) -> tuple[list[str], str | None]:
    """Return the bases of a file, which are beside it or above it inside the paths; or what is wrong with the first."""
    found = []
    folder, home = Path(os.path.realpath(os.path.dirname(source.path) or ".")), os.path.realpath(options.home)
    above = [parent for parent in folder.parents if _under(str(parent), home)]
    for base in source.bases or ():
        paths = (os.path.normpath(parent / base) for parent in (folder, *above))
        path = next((path for path in paths if _under(path, str(options.root)) and os.path.isfile(path)), None)
        if path is None:
            return [], f"named {base!r}, which is not there under {options.home}"
        found.append(os.path.realpath(path))
    return found, None if found else f"names no file: {_shown(source.document.data[BASE])}"


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)


def _dangling(source: Source, why: str, keep: bool) -> Finding:
    entry = source.layout.find((BASE,))
    what = "the file is left alone" if keep else "the line is dropped"
    hint = "The programs that read these files looked beside the file only, so nothing of it was ever applied."
    place = entry.key_node.start_mark.index if entry else 0
    return at(source, place, DANGLING, f"{BASE} {why}: {what}", hint)


class Chain:
    """The templates that exist already, with their bases."""

    def __init__(self, templates: Mapping[str, Source], root: Path) -> None:
        self.templates = dict(templates)
        self.lookup = Lookup(root, (), lambda path: str(path) in self.templates or path.is_file())
        self._resolved: dict[str, dict[str, Any]] = {}

    def bases(self, real: str) -> tuple[str, ...]:
        """Return the real paths of the bases of a template."""
        source = self.source(real)
        return tuple(self.find(source, name) for name in source.bases or ())

    def find(self, source: Source, name: str) -> str:
        """Return the real path of a base.

        Raises:
            ConfigError: There is none.
        """
        found = self.lookup.find(name, Path(os.path.realpath(os.path.dirname(source.path) or ".")))
        if found is None:
            raise ConfigError(f"{source.path}: {BASE}: there is no file {name!r}")
        return os.path.realpath(found)

    def source(self, real: str) -> Source:
        """Return a template.

        Raises:
            ConfigError: It can't be handled.
        """
        if real not in self.templates:
            source = read(real, directives=True)
            if isinstance(source, LeftAlone):
                raise ConfigError(f"{real}: cannot be used as a base: {source.reason}")
            self.templates[real] = source
        return self.templates[real]

    def resolved(self, real: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return what a template stands for, coded.

        Raises:
            ConfigError: Bases go in a circle.
        """
        if real in above:
            raise ConfigError(f"bases in a circle: {' -> '.join([*above, real])}")
        if real not in self._resolved:
            contents = [self.resolved(base, (*above, real)) for base in self.bases(real)]
            self._resolved[real] = merge(reduce(combine, contents, {}), self.source(real).coded)
        return self._resolved[real]

    def joined(self, reals: Iterable[str]) -> dict[str, Any]:
        """Return what several templates stand for together."""
        return reduce(combine, (self.resolved(real) for real in reals), {})

    def line(self, reals: Sequence[str]) -> Iterator[str]:
        """Yield templates in the order in which they are applied; one may come twice."""
        for real in reals:
            yield from self.line(self.bases(real))
            yield real
