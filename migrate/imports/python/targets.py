"""Checks of a target: whether it is there, and what to say when it isn't or must not be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bem_core.errors import nearest
from migrate.imports.context import Context

if TYPE_CHECKING:
    from migrate.imports.python.plan import Planner
    from migrate.moves import Target


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


def report_blocked(planner: Planner, offset: int, old: str, target: Target) -> None:
    """Report a name that must not be rewritten: removed, or with other arguments."""
    move = target.move
    if target.blocked == "removed":
        planner.report(offset, "BM106", f"{old} was removed", move.removed)
        return
    hint = f"port the call to {move.new} by hand; until then the adapter under the old name serves it"
    planner.report(offset, "BM107", f"arguments of {old} changed: {move.shim_only}", hint)


def report_missing(planner: Planner, offset: int, old: str, target: Target) -> None:
    """Report a target that surely does not exist, unless its old place shows that it's still to be moved."""
    if exists(planner.ctx, target.dotted) is not False or exists(planner.ctx, old) is True:
        return
    module, _, name = target.dotted.rpartition(".")
    if target.module_length:
        module, name = target.module, target.attr
    close = ""
    exports = planner.ctx.tree.exports(module) if planner.ctx.tree else None
    if exports is not None:
        close = nearest(name, exports.names).removeprefix("; ")
    hint = close or "add it there, or correct the list of moves"
    gone = planner.ctx.tree is not None and planner.ctx.tree.find(module) is None
    what = f"there is no module {module}, and so no {name!r} in it" if gone else f"{module} has no {name!r}"
    planner.report(offset, "BM104", what, hint)
