"""What there is to say about the target of an old name: it is blocked, it isn't there, or it only occurs in text."""

from __future__ import annotations

from typing import NamedTuple

from bem_core.errors import nearest
from migrate.imports.context import Context
from migrate.moves import Target


class Remark(NamedTuple):
    """The code, message and hint of a finding that has no position yet."""

    code: str
    message: str
    hint: str


def exists(ctx: Context, dotted: str) -> bool | None:
    """Say whether a dotted name is there, as far as the tree tells: True, False, or None when it doesn't know."""
    tree = ctx.tree
    if tree is None or tree.find(dotted.partition(".")[0]) is None:
        return None
    parts = dotted.split(".")
    length = next(n for n in range(len(parts), 0, -1) if tree.find(".".join(parts[:n])) is not None)
    if length == len(parts):
        return True
    return tree.has(".".join(parts[:length]), parts[length])


def blocked(old: str, target: Target) -> Remark:
    """Remark on a name that must not be rewritten: removed, or with other arguments."""
    move = target.move
    if target.blocked == "removed":
        return Remark("BM106", f"{old} was removed", move.removed)
    hint = f"port the call to {move.new} by hand; until then the adapter under the old name serves it"
    return Remark("BM107", f"arguments of {old} changed: {move.shim_only}", hint)


def missing(ctx: Context, old: str, target: Target) -> Remark | None:
    """Remark on a target that surely does not exist, unless its old place shows that it's still to be moved."""
    if exists(ctx, target.dotted) is not False or exists(ctx, old) is True or ctx.tree is None:
        return None
    module, _, name = target.dotted.rpartition(".")
    if target.module_length:
        module, name = target.module, target.attr
    if ctx.tree.find(module) is None:
        what = f"there is no module {module}, and so no {name!r} in it"
        return Remark("BM104", what, "add it there, or correct the list of moves")
    exports = ctx.tree.exports(module)
    close = nearest(name, exports.names).removeprefix("; ") if exports else ""
    return Remark("BM104", f"{module} has no {name!r}", close or "add it there, or correct the list of moves")


def in_text(ctx: Context, name: str) -> Remark | None:
    """Remark on an old name, dotted or with a colon, at a position that doesn't say that it means a module.

    A name of one component is too short to say anything: `bem2` may be an identifier of any kind.
    """
    renamed = ctx.moves.rename(name) if "." in name else None
    if renamed is None:
        return None
    new, target = renamed
    advice = target.move.removed or target.move.shim_only
    return Remark("BM105", f"{name} only occurs as text here", advice if target.blocked else f"it is {new} now")
