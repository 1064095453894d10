"""The hierarchy as it stands in the files: which file extends which, and which leaf comes from where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bem_core.config.lookup import Lookup, shipped_templates
from bem_core.config.merge import leaves
from bem_core.config.resolver import Resolved, Resolver, value_at
from bem_core.errors import ConfigError
from migrate import sources
from migrate.configs import figures
from migrate.configs.inputs import Options, is_yaml
from migrate.configs.leaves import flatten
from migrate.configs.source import BASE

_ABSENT = object()


@dataclass
class Member:
    """A file or template.

    Attributes:
        name: Its name in reports.
        template: Whether something extends it.
        bases: Names of its bases.
        own: Leaves that it writes itself.
        total: Leaves that it stands for.
        origins: By leaf, the name of the file that sets it, and the value.
    """

    name: str
    template: bool = False
    bases: tuple[str, ...] = ()
    own: int = 0
    total: int = 0
    origins: dict[tuple[Any, ...], tuple[str, Any]] = field(default_factory=dict)


@dataclass
class Hierarchy:
    """All files under some paths, with all that they extend.

    Attributes:
        members: By name, in order.
        users: By name of a base, the names of what extends it directly.
        broken: Files that do not resolve: path and reason.
    """

    members: dict[str, Member] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: list[tuple[str, str]] = field(default_factory=list)

    def roots(self) -> list[str]:
        """Return the names of the members that extend nothing, those with users first."""
        top = [member for member in self.members.values() if not member.bases]
        return [
            member.name for member in sorted(top, key=lambda member: (not self.users.get(member.name), member.name))
        ]

    def below(self, name: str) -> int:
        """Count the experiments that extend a template, directly or not."""
        found: set[str] = set()
        stack = list(self.users.get(name, ()))
        while stack:
            user = stack.pop()
            if user not in found:
                found.add(user)
                stack += self.users.get(user, ())
        return sum(not self.members[user].template for user in found)


def examine(options: Options) -> Hierarchy:
    """Resolve every file under the paths; one that doesn't resolve is listed and the others go on."""
    listing = sources.find(options.paths, ("yaml",), options.include, options.exclude, options.root, is_yaml)
    resolver, lookup = Resolver(options.root), Lookup(options.root, shipped_templates())
    hierarchy = Hierarchy()
    for file in listing.files:
        try:
            _add(hierarchy, resolver.resolve(Path(file.path)), resolver, lookup, options)
        except ConfigError as error:
            hierarchy.broken.append((file.path, str(error)))
    for member in hierarchy.members.values():
        for base in member.bases:
            hierarchy.users[base].append(member.name)
    for name in hierarchy.users:
        hierarchy.members[name].template = True
    hierarchy.members = {name: hierarchy.members[name] for name in sorted(hierarchy.members)}
    hierarchy.users = {name: sorted(set(users)) for name, users in sorted(hierarchy.users.items())}
    return hierarchy


def _add(hierarchy: Hierarchy, resolved: Resolved, resolver: Resolver, lookup: Lookup, options: Options) -> None:
    name = options.name(str(resolved.path))
    if name in hierarchy.members:
        return
    layer = resolved.layers[-1]
    bases = [resolver.resolve(path) for path in _bases(resolved, layer.data, lookup)]
    for base in bases:
        _add(hierarchy, base, resolver, lookup, options)
    hierarchy.members[name] = Member(
        name,
        bases=tuple(options.name(str(base.path)) for base in bases),
        own=figures.count(layer.data),
        total=leaves(resolved.data),
        origins={path: (_origin(resolved, path, options), value) for path, value in flatten(resolved.data).items()},
    )


def _bases(resolved: Resolved, data: Mapping[str, Any], lookup: Lookup) -> list[Path]:
    """Return the files that a file names; the resolver has found them all."""
    names = data.get(BASE) or []
    found = (lookup.find(name, resolved.path.parent) for name in ([names] if isinstance(names, str) else names))
    return [path for path in found if path is not None]


def _origin(resolved: Resolved, path: tuple[Any, ...], options: Options) -> str:
    for layer in reversed(resolved.layers):
        if value_at(layer.data, path, _ABSENT) is not _ABSENT:
            return options.name(str(layer.path))
    return ""
