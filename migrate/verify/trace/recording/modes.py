"""Which modules are trained, and which of them are in training mode."""

from __future__ import annotations

import xxhash
from torch import nn

from .names import NOT_COUNTED, Names


class Modes:
    """The training flags of all modules.

    Args:
        names: Knows the modules and the optimizers.

    Attributes:
        changed: Whether a flag was set, or modules were added, since the last digest.
    """

    def __init__(self, names: Names) -> None:
        self.changed = True
        self._names = names
        self._last = ""

    def digest(self, look: bool) -> str:
        """Return the digest of all flags; the last one again while nothing has changed, unless told to look."""
        if look or self.changed:
            modules = [ref() for ref in self._names.modules]
            self._last = xxhash.xxh3_128_hexdigest(
                bytes([module is not None and module.training for module in modules])
            )
            self.changed = False
        return self._last

    def is_trained(self, module: nn.Module) -> bool:
        """Tell whether a module is one that the program calls, or all that an optimizer has, and is trained."""
        ids = {id(parameter) for parameter in module.parameters()}
        groups = [
            {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            for _, optimizer in self._names.live_optimizers()
        ]
        if self._names.entries.get(module) not in (None, NOT_COUNTED):
            return any(ids & group for group in groups)
        return any(group <= ids for group in groups)
