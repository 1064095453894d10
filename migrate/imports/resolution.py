"""One import looked up under every import root, as the files are and as they will be after the moves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from migrate.imports.exports import UNREADABLE, Bindings, bindings, parse
from migrate.imports.external import STDLIB, External
from migrate.imports.statements import Imported, imports
from migrate.imports.tree import Tree, absolute
from migrate.moves import Moves, Target

Reason = Literal["", "name", "module", "depth", "package", "outside", "elsewhere"]

REASONS: dict[Reason, str] = {
    "name": "the module has no such name",
    "module": "the package has no such module",
    "depth": "the dots climb above the top-level package",
    "package": "no such package: not in the tree, not declared, not installed",
    "outside": "relative import in a file that is in no package",
    "elsewhere": "found under another root only",
}


class World:
    """Everything that imports can lead to: a tree for each root, dependencies, and what the moves will make."""

    def __init__(self, roots: Sequence[Path], moves: Moves, project_root: Path) -> None:
        """Take the import roots, the list of moves, and the folder that declares the dependencies."""
        self._known: dict[str, Bindings] = {}
        self.external = External(project_root)
        self.whole = Tree(roots, self._known)
        self.moves = moves.with_kinds(self._is_module)
        self.trees = [Tree([root], self._known) for root in self.whole.roots]
        self._beside: dict[str, Tree] = {}
        self._coming: dict[str, bool] = {}

    def _is_module(self, dotted: str) -> bool | None:
        if self.whole.find(dotted):
            return True
        parent, _, name = dotted.rpartition(".")
        return False if parent and self.whole.has(parent, name) else None

    def scan(self, file: str) -> list[Imported] | None:
        """Return the imports of a file, and remember what it binds; None when it cannot be read or parsed."""
        place = os.path.abspath(file)
        try:
            source = Path(place).read_bytes()
        except OSError:
            return None
        if b"import" not in source:
            return []
        tree = parse(source)
        self._known[place] = UNREADABLE if tree is None else bindings(tree, source)
        return None if tree is None else list(imports(tree))

    def beside(self, folder: str) -> Tree | None:
        """Return the modules in a file's own folder, which a script can import; None when it is a package."""
        if folder not in self._beside:
            self._beside[folder] = Tree([folder], self._known)
        tree = self._beside[folder]
        return None if tree.find("__init__") else tree

    def outside(self, module: str) -> bool:
        """Tell whether a module comes from the standard library or a dependency and not from the tree."""
        top = module.partition(".")[0]
        if top in STDLIB:
            return True
        place = self.whole.find(top)
        # Python takes an installed package before a folder without __init__.py
        return (place is None or os.path.isdir(place)) and self.external.knows(top)

    def renamed(self, dotted: str) -> str:
        """Return a name as the codemod will write it."""
        target = self.moves.resolve(dotted)
        return dotted if target is None or target.blocked else target.dotted

    def coming(self, dotted: str) -> bool:
        """Tell whether some old module that exists now will have this name, or hold it."""
        if dotted not in self._coming:
            self._coming[dotted] = any(
                not move.blocked
                and (dotted == move.new or dotted.startswith(f"{move.new}."))
                and exists(self.whole, move.old + dotted[len(move.new) :])
                for move in self.moves.entries.values()
            )
        return self._coming[dotted]

    def present(self, dotted: str, old: str, tree: Tree) -> bool:
        """Tell whether a name will exist under a root when the moves are done.

        Args:
            dotted: The name after the moves.
            old: What it is today. Where the new name is in the tree under no root, the file of the old one is about to
                be moved there.
            tree: The root.
        """
        if exists(tree, dotted) or self.outside(dotted):
            return True
        return not exists(self.whole, dotted) and (exists(self.whole, old) or self.coming(dotted))


def may_serve(tree: Tree, module: str) -> bool:
    """Tell whether a module that has no file may be made by one above it: an extension, or code with ``__path__``."""
    parts = module.split(".")
    for end in range(len(parts) - 1, 0, -1):
        above = ".".join(parts[:end])
        place = tree.find(above)
        if place is not None:
            exports = tree.exports(above)
            return "__path__" in exports.names if exports else os.path.isfile(place)
    return False


def exists(tree: Tree, dotted: str) -> bool:
    """Tell whether a dotted name is a module, or may be a name in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        if tree.find(module):
            return end == len(parts) or tree.has(module, parts[end]) is not False
    return False


class Case:
    """One import, looked up under every root.

    Attributes:
        bases: For each root, the absolute name of the imported module; None when the dots climb above the top, or the
            file is not below the root and the import is relative.
        reasons: For each root, why the import fails; None when it is relative and the file is not below the root.
    """

    bases: list[str | None]
    reasons: list[Reason | None]

    def __init__(self, world: World, file: str, item: Imported) -> None:
        """Look ``item`` of ``file`` up under every root of ``world``."""
        self.file = file
        self.item = item
        self._world = world
        folder, name = os.path.split(os.path.abspath(file))
        self._beside = world.beside(folder) if item.level == 0 else None
        self._is_package = name.startswith("__init__.")
        self.bases = [self._base(tree) for tree in world.trees]
        reasons = [self._reason(base, tree) for base, tree in zip(self.bases, world.trees, strict=True)]
        served = "" in reasons
        self.reasons = ["elsewhere" if served and r in {"package", "module"} else r for r in reasons]

    def _base(self, tree: Tree) -> str | None:
        if self.item.level == 0:
            return self.item.module
        names = tree.modules(self.file)
        return absolute(self.item.level, self.item.module, names[0], self._is_package) if names else None

    def _reason(self, base: str | None, tree: Tree) -> Reason | None:
        """Say why the import fails under a root; None when it is relative and the file is not below the root."""
        if base is None:
            return "depth" if tree.modules(self.file) else None
        if not tree.find(base):
            if may_serve(tree, base):
                return ""
            if self.item.level == 0 and (self._world.outside(base) or (self._beside and self._beside.find(base))):
                return ""
            top = base.partition(".")[0]
            return "module" if self._world.whole.find(top) or self.item.level else "package"
        if all(tree.has(base, name) is not False for name in self.item.names if name != "*"):
            return ""
        return "" if self.item.level == 0 and self._world.outside(base) else "name"

    @property
    def reason(self) -> Reason:
        """Why no root can serve the import: the reason that comes nearest to resolving; empty when one can."""
        given = {reason for reason in self.reasons if reason is not None}
        if "" in given:
            return ""
        return next((reason for reason in REASONS if reason in given), "outside")

    @property
    def missing(self) -> str:
        """What does not exist."""
        reason = self.reason
        if reason in {"outside", "depth"}:
            return "." * self.item.level + self.item.module
        index = self.reasons.index(reason)
        base, tree = self.bases[index] or "", self._world.trees[index]
        if reason == "name":
            lacking = [name for name in self.item.names if tree.has(base, name) is False]
            return f"{base}:{', '.join(lacking)}"
        parts = base.split(".")
        prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return next((prefix for prefix in prefixes if not self._world.whole.find(prefix)), base)

    def moved(self) -> list[Target]:
        """Return the moves that apply to the imported names, under whichever root makes them old names."""
        for base in dict.fromkeys(base for base in self.bases if base):
            targets = [self._world.moves.resolve(name) for name in self._dotted(base)]
            if any(targets):
                return [target for target in targets if target]
        return []

    def after(self, index: int) -> Reason | None:
        """Say why the import fails under a root when the moves are done; None when it is not examined there."""
        reason, tree = self.reasons[index], self._world.trees[index]
        names = self._dotted(self.bases[index] or "")
        if not any(map(self._moved, names)):
            if not reason:
                return reason
            # The codemod spells a relative import anew when another root makes it an old name.
            others = (self._dotted(base) for base in self.bases if base)
            names = next((other for other in others if any(map(self._moved, other))), names)
        elif reason == "" and self._stays_relative(index):
            return reason
        if names and all(self._resolves(name, tree) for name in names):
            return ""
        return reason or "elsewhere"

    @property
    def respelled(self) -> bool:
        """Whether the moves turn a relative import into an absolute one."""
        moved = [i for i, base in enumerate(self.bases) if base and any(map(self._moved, self._dotted(base)))]
        return bool(moved) and not any(map(self._stays_relative, moved))

    def _stays_relative(self, index: int) -> bool:
        """Tell whether the file moves along with what it imports, so that the same dots lead there afterwards."""
        base = self.bases[index] or ""
        if self.item.level == 0:
            return False
        module = self._world.trees[index].modules(self.file)[0]
        new = self._world.renamed(module)
        return absolute(self.item.level, self.item.module, new, self._is_package) == self._world.renamed(base)

    def _moved(self, dotted: str) -> bool:
        return self._world.renamed(dotted) != dotted

    def _resolves(self, dotted: str, tree: Tree) -> bool:
        """Tell whether one imported name will be served."""
        return self._world.present(self._world.renamed(dotted), dotted, tree)

    def _dotted(self, base: str) -> list[str]:
        if not base:
            return []
        names = [name for name in self.item.names if name != "*"]
        return [f"{base}.{name}" for name in names] or [base]
