"""A small tree of modules that exists in memory, before and after a list of moves, and modules run against it.

The world is data: which module binds which name to which object. After the moves the same objects stand at their new
places and the old modules are gone, so a rewritten module that still asks for an old place fails.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from migrate.moves import Move, Moves

# module -> the names it binds. Every name is an object of its own; a name that begins with a capital is a class with
# the attributes ``g`` and ``h``.
OLD: dict[str, str] = {
    "pa": "f C",
    "pa.m": "f g C",
    "pa.n": "f h",
    "pa.sub": "g",
    "pa.sub.deep": "f C h",
    "pb": "f",
    "pb.m": "f k D",
    "q": "f g",
}
# Names that a package hands on from one of its modules.
HANDED_ON = {"pa.g": "pa.m.g", "pb.k": "pb.m.k"}
# Modules that a package imports when it is imported itself.
EAGER = {"pa": ("pa.m", "pa.sub"), "pb": ("pb.m",)}
ALL = {"pb.m": ("f", "D")}
CLASS_ATTRIBUTES = ("g", "h")


class Conflict(Exception):
    """Two objects would have to stand at the same place."""


@dataclass
class World:
    """Which module binds which name to which object.

    Attributes:
        modules: module -> name -> identity of the object.
        attributes: identity of a class -> attribute -> identity of its value.
        eager: package -> modules that it imports.
        renamed: old module -> new module; empty before the moves.
        public: module -> what a star import of it binds. A new submodule is none of it: one that happens to be loaded
            is bound by a star too, which no rewrite can know.
    """

    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    eager: dict[str, tuple[str, ...]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    public: dict[str, list[str]] = field(default_factory=dict)

    def roots(self) -> set[str]:
        """Return the top-level names."""
        return {module.partition(".")[0] for module in self.modules}

    def merges(self) -> bool:
        """Tell whether modules became one: a star import of it binds more than before."""
        return len(set(self.renamed.values())) < len(self.renamed) or any(
            old != new and new in OLD for old, new in self.renamed.items()
        )


def is_class(ident: str) -> bool:
    """Tell whether an object is a class: those are the ones whose name has a capital."""
    return ident.rpartition(".")[2][0].isupper()


def old_world() -> World:
    """Return the world before any move."""
    world = World(eager=dict(EAGER))
    for module, names in OLD.items():
        world.modules[module] = {name: f"{module}.{name}" for name in names.split()}
        for name in names.split():
            if name[0].isupper():
                ident = f"{module}.{name}"
                world.attributes[ident] = {attr: f"{ident}.{attr}" for attr in CLASS_ATTRIBUTES}
    for place, ident in HANDED_ON.items():
        module, _, name = place.rpartition(".")
        world.modules[module][name] = ident
    for module, names in world.modules.items():
        world.public[module] = list(ALL.get(module, [*names, *_last(EAGER.get(module, ()))]))
    return world


def _last(modules: Iterable[str]) -> list[str]:
    return [module.rpartition(".")[2] for module in modules]


def place(moves: Moves, module: str, attr: str = "") -> tuple[str, str]:
    """Follow the moves of one object: the module it ends in, and its attributes there.

    Written apart from `migrate.moves` on purpose: longest match, again and again.
    """
    while True:
        parts = [*module.split("."), *(attr.split(".") if attr else [])]
        lengths = (n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in moves.entries)
        length = next(lengths, 0)
        if not length:
            return module, attr
        move = moves.entries[".".join(parts[:length])]
        if move.blocked:
            return module, attr
        inside = module.count(".") + 1
        if move.kind == "symbol":
            rest = parts[length:]
            module, attr = move.module, ".".join([*move.attr.split("."), *rest])
        else:
            assert length <= inside, f"{move.old} is no module"
            module = ".".join([move.new, *parts[length:inside]])


def new_world(moves: Moves) -> World:
    """Return the world in which every move is done.

    Raises:
        Conflict: Two objects would have to stand at the same place.
    """
    old, new = old_world(), World()
    for module in old.modules:
        new.renamed[module] = place(moves, module)[0]
        add_module(new, new.renamed[module])
    for package, children in old.eager.items():
        target = new.renamed[package]
        new.eager[target] = (*new.eager.get(target, ()), *(new.renamed[child] for child in children))
    objects = [(m, n, i) for m, names in old.modules.items() for n, i in names.items()]
    nested: list[tuple[str, str, str]] = []
    for module, name, ident in objects:
        target, attr = place(moves, module, name)
        if "." in attr:
            nested.append((target, attr, ident))
        else:
            _put(new, target, attr, ident)
    for module, name, ident in objects:
        for attr, value in old.attributes.get(ident, {}).items():
            target, path = place(moves, module, f"{name}.{attr}")
            holder, held = place(moves, module, name)
            if (target, path) == (holder, f"{held}.{attr}"):
                _set(new.attributes.setdefault(ident, {}), attr, value)
            elif "." in path:
                nested.append((target, path, value))
            else:
                _put(new, target, path, value)
    for target, path, ident in nested:
        _put_inside(new, target, path, ident)
    no_shadowing(new)
    new.public = {module: _public(module, old, new) for module in new.modules}
    return new


def _public(module: str, old: World, new: World) -> list[str]:
    """Return what a star import of a new module binds: what a star of the old one bound, and what moved there."""
    hidden = {
        name
        for source, target in new.renamed.items()
        if target == module
        for name in {*old.modules[source]} - {*old.public[source]}
    }
    children = {child.rpartition(".")[2] for child in new.eager.get(module, ()) if child.rpartition(".")[0] == module}
    loaded = {name for source, target in new.renamed.items() if target == module for name in old.public[source]}
    return sorted({*new.modules[module]} - hidden | children & loaded)


def add_module(world: World, module: str) -> None:
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        world.modules.setdefault(".".join(parts[:length]), {})


def _set(where: dict[str, str], name: str, ident: str) -> None:
    if where.setdefault(name, ident) != ident:
        raise Conflict(f"{name}: {where[name]} and {ident}")


def _put(world: World, module: str, name: str, ident: str) -> None:
    add_module(world, module)
    _set(world.modules[module], name, ident)


def _put_inside(world: World, module: str, path: str, ident: str) -> None:
    holder, *between, attr = path.split(".")
    if between:
        raise Conflict(f"{path}: too deep")
    add_module(world, module)
    owner = world.modules[module].setdefault(holder, f"new {module}.{holder}")
    if not is_class(owner):
        raise Conflict(f"{path}: {holder} is no class")
    _set(world.attributes.setdefault(owner, {}), attr, ident)


def no_shadowing(world: World) -> None:
    for module in world.modules:
        parent, _, name = module.rpartition(".")
        if parent and name in world.modules[parent]:
            raise Conflict(f"{module} is a module and a name")


def write_tree(world: World, root: Path) -> None:
    """Write a world as files, for the parts that only read source."""
    for module, names in world.modules.items():
        lines = []
        children = [m for m in world.eager.get(module, ()) if m in world.modules]
        lines += [f"import {child}" for child in children]
        for name, ident in names.items():
            home, _, own = ident.rpartition(".")
            if home != module and home in world.modules and own in world.modules[home]:
                lines.append(f"from {home} import {own} as {name}")
            elif is_class(ident):
                lines.append(f"class {name}:")
                lines += [
                    f"    {attr} = {value!r}" for attr, value in world.attributes.get(ident, {"pass_": 0}).items()
                ]
            else:
                lines.append(f"{name} = {ident!r}")
        if module in ALL and set(ALL[module]) <= set(names):
            lines.append(f"__all__ = {list(ALL[module])!r}")
        folder = root.joinpath(*module.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves the modules of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made: dict[str, Any] = {}

    def make(self, ident: str) -> Any:
        """Return the object of an identity: a class with its attributes, or the identity itself."""
        if not is_class(ident):
            return ident
        if ident not in self.made:
            attributes = {attr: self.make(value) for attr, value in self.world.attributes.get(ident, {}).items()}
            self.made[ident] = type(ident.rpartition(".")[2], (), {"ident": ident, **attributes})
        return self.made[ident]

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name in self.world.modules:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        for child in self.world.eager.get(name, ()):
            importlib.import_module(child)
        names = self.world.modules[name]
        for attr, ident in names.items():
            setattr(module, attr, self.make(ident))
        module.__all__ = self.world.public[name]  # type: ignore[attr-defined]


@contextmanager
def installed(world: World, extra: Iterable[str] = ()) -> Iterator[None]:
    """Let the import system see a world and nothing that was imported from another one."""
    roots = {*old_world().roots(), *world.roots(), *extra}
    finder = _Finder(world)
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in roots}
    for name in kept:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in roots]:
            del sys.modules[name]
        sys.modules.update(kept)


@dataclass(frozen=True)
class Seen:
    """What a module saw when it ran: what it recorded, and what its names are bound to."""

    recorded: tuple[Any, ...]
    names: dict[str, Any]


def run(code: str, world: World, name: str, is_package: bool) -> Seen:
    """Run a module under a dotted name and return what it recorded in ``R``."""
    package = name if is_package else name.rpartition(".")[0]
    recorded: list[Any] = []
    with installed(world, [name.partition(".")[0]]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ModuleType(name)
        module.__package__ = package
        if is_package:
            module.__path__ = []
        parent = name.rpartition(".")[0]
        if parent:
            importlib.import_module(parent)
        sys.modules[name] = module
        module.__dict__["R"] = recorded.append
        exec(compile(code, f"<{name}>", "exec", dont_inherit=True), module.__dict__)
        names = {key: canonical(value, world, name) for key, value in vars(module).items() if key[0] != "_"}
        return Seen(tuple(canonical(value, world, name) for value in recorded), names)


def canonical(value: Any, world: World, own: str) -> Any:
    """Return something that is equal for the same object before and after the moves."""
    if isinstance(value, ModuleType):
        if value.__name__ in OLD or value.__name__ in world.modules:
            return ("module", value.__name__)
        return ("module", "itself" if value.__name__ == own else value.__name__)
    if isinstance(value, type):
        return ("class", getattr(value, "ident", value.__name__))
    if isinstance(value, list | tuple | set):
        return [canonical(item, world, own) for item in value]
    if isinstance(value, dict):
        return {key: canonical(item, world, own) for key, item in value.items()}
    if isinstance(value, str | int | None):
        return value
    return type(value).__name__


def as_new(value: Any, moves: Moves) -> Any:
    """Return a canonical value from before the moves as it should be after them."""
    if isinstance(value, tuple) and value[0] == "module":
        return ("module", place(moves, value[1])[0])
    if isinstance(value, list):
        return [as_new(item, moves) for item in value]
    if isinstance(value, dict):
        return {key: as_new(item, moves) for key, item in value.items()}
    return value


def moves_of(entries: Sequence[Move]) -> Moves:
    """Return a list of moves without the detour over a file."""
    return Moves({move.old: move for move in entries}, "generated")
