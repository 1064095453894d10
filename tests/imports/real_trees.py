"""Source of installed packages as test material: copies of it, random lists of moves for it, moves done on disk."""

from __future__ import annotations

import ast
import importlib.util
import os
import random
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = (".py", ".pyi", ".txt", ".graphml", ".gz", ".json")
Bound = dict[str, set[str]]


def copy(packages: Sequence[str], target: Path, share: float = 1.0, seed: int = 0) -> Path:
    """Copy installed packages; of a ``share`` below 1 only the package fronts and that part of the other modules."""
    chance = random.Random(seed)

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [
            name
            for name in sorted(names)
            if name == "__pycache__"
            or (not os.path.isdir(os.path.join(folder, name)) and not name.endswith(DATA))
            or (name.endswith(".py") and name != "__init__.py" and chance.random() >= share)
        ]

    for package in packages:
        spec = importlib.util.find_spec(package)
        assert spec is not None, package
        for folder in spec.submodule_search_locations or ():
            shutil.copytree(folder, target / package, ignore=left_out)
    return target


def modules(root: Path, package: str) -> dict[str, Path]:
    """Return every module of a package by its dotted name."""
    found: dict[str, Path] = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if all(part.isidentifier() for part in parts):
            found[".".join(parts)] = path
    return found


def under(name: str, prefix: str) -> bool:
    return f"{name}.".startswith(f"{prefix}.")


@dataclass(frozen=True)
class RandomMoves:
    """A list of moves drawn for one package.

    Attributes:
        modules: Old module or package -> new one; no old name lies under another.
        symbols: Old ``module.name`` -> new ``(module, name)``.
    """

    modules: dict[str, str]
    symbols: dict[str, tuple[str, str]]

    def text(self) -> str:
        lines = ["version: 1", "moves:"]
        lines += [f"  - {{old: {old}, new: {new}, kind: module}}" for old, new in self.modules.items()]
        lines += [f'  - {{old: {old}, new: "{new[0]}:{new[1]}"}}' for old, new in self.symbols.items()]
        return "\n".join(lines) + "\n"

    def follow(self, dotted: str) -> str:
        """Return where a dotted name leads: the longest old name in front of it replaced, until none is left."""
        names = {**self.modules, **{old: ".".join(new) for old, new in self.symbols.items()}}
        for _ in range(9):
            olds = [old for old in names if under(dotted, old)]
            if not olds:
                break
            old = max(olds, key=len)
            dotted = names[old] + dotted[len(old) :]
        return dotted


def draw_moves(root: Path, package: str, seed: int, num_modules: int, num_symbols: int) -> RandomMoves:
    """Rename sub-packages, move modules into other packages, move functions and classes into new modules."""
    chance = random.Random(f"{package}{seed}")
    known = modules(root, package)
    fronts = [name for name, path in known.items() if path.name == "__init__.py" and name != package]
    depth = min(2, max(name.count(".") for name in known))
    plain = [n for n, p in known.items() if p.name != "__init__.py" and "tests" not in n and n.count(".") >= depth]
    taken: dict[str, str] = {}
    for number in range(num_modules):
        old = chance.choice(fronts if number % 3 == 0 and fronts else plain)
        if any(under(old, other) or under(other, old) for other in [*taken, *taken.values()]) or "tests" in old:
            continue
        parent = old.rpartition(".")[0] if number % 2 else f"{package}.moved{number}"
        taken[old] = f"{parent}.{old.rpartition('.')[2]}_new"
    symbols: dict[str, tuple[str, str]] = {}
    for number in range(num_symbols):
        module = chance.choice(plain)
        names = list(definitions(known[module]))
        if names and not any(under(module, other) for other in taken.values()):
            name = chance.choice(names)
            new = name if number % 3 else f"{name}_new"
            symbols[f"{module}.{name}"] = (f"{package}.parts{number % 4}", new)
    return RandomMoves(taken, symbols)


def definitions(path: Path) -> Iterator[str]:
    """Yield the functions and classes at the top of a module."""
    for node in parse(path.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def move_on_disk(root: Path, moves: RandomMoves) -> None:
    """Move the files of every module as ``git mv`` would, with a front for each new package."""
    for old, new in moves.modules.items():
        source, target = root.joinpath(*old.split(".")), root.joinpath(*new.split("."))
        if not source.is_dir():
            source, target = source.with_suffix(".py"), target.with_suffix(".py")
        for folder in reversed(target.relative_to(root).parents[:-1]):
            (root / folder).mkdir(exist_ok=True)
            (root / folder / "__init__.py").touch()
        source.rename(target)


@dataclass(frozen=True)
class Meaning:
    """What a module's names stand for, read without the code under test.

    Attributes:
        bound: Name -> what imports bind it to, as dotted names, wherever in the module.
        kept: Those of them that an ``import a.b`` without alias does not bind.
        chains: Every name with its attributes, in order.
        skeleton: All the rest, with names, attributes and text blanked.
    """

    bound: Bound
    kept: set[tuple[str, str]]
    chains: list[tuple[str, ...]]
    skeleton: str


def meaning(source: bytes, module: str, is_package: bool) -> Meaning:
    tree = parse(source)
    bound: Bound = {}
    kept: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        for name, path, plain in _imported(node, module, is_package):
            bound.setdefault(name, set()).add(path)
            if not plain:
                kept.add((name, path))
    reader = _Reader()
    blank = reader.visit(tree)
    return Meaning(bound, kept, reader.chains, ast.dump(blank))


def _imported(node: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, str, bool]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            yield (alias.asname, alias.name, False) if alias.asname else (root, root, True)
    elif isinstance(node, ast.ImportFrom):
        package = module.split(".") if is_package else module.split(".")[:-1]
        base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
        base = ".".join(part for part in (base, node.module) if part)
        for alias in node.names:
            if alias.name != "*":
                yield alias.asname or alias.name, f"{base}.{alias.name}", False


class _Reader(ast.NodeTransformer):
    """Takes out the imports and notes the chains."""

    def __init__(self) -> None:
        self.chains: list[tuple[str, ...]] = []

    def visit_Import(self, node: ast.Import) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_Name(self, node: ast.Name) -> ast.AST:
        self.chains.append((node.id,))
        return ast.Name("_", ast.Load())

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        parts: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            return self.generic_visit(node)
        self.chains.append((inner.id, *reversed(parts)))
        return ast.Name("_", ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node


def differences(old: Meaning, new: Meaning, moves: RandomMoves) -> Iterator[str]:
    """Yield what a rewritten module says that the old one, with its names moved, does not."""
    if old.skeleton != new.skeleton:
        yield "something besides names and imports changed"
    for name, path in sorted(old.kept):
        if (name, moves.follow(path)) not in new.kept:
            yield f"{name} was {path} and should be {moves.follow(path)}, not {sorted(new.bound.get(name, ()))}"
    for before, after in zip(old.chains, new.chains, strict=len(old.chains) == len(new.chains)):
        wanted = {moves.follow(dotted) for dotted in _expanded(before, old.bound)}
        if before != after and not wanted & _expanded(after, new.bound):
            yield f"{'.'.join(before)} became {'.'.join(after)}"
        elif before == after and wanted and not wanted & _expanded(after, new.bound):
            yield f"{'.'.join(before)} should be one of {sorted(wanted)}"


def _expanded(chain: tuple[str, ...], bound: Bound) -> set[str]:
    return {".".join([path, *chain[1:]]) for path in bound.get(chain[0], ())}


def snapshot(root: Path, files: Iterable[Path] | None = None) -> dict[str, bytes]:
    """Return the bytes of all files below a folder but those of the journal."""
    found = files or (path for path in root.rglob("*") if path.is_file() and ".bem-migrate" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
