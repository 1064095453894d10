"""What modules give in one step, and the gradients of that, beside a trace of level ``deep``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .digests import leaves
from .settings import Settings

# The program's `torch.save` may be replaced by the hooks.
_save = torch.save
MOST_BYTES = 1 << 30


def value_name(call: int) -> str:
    """Return the name of the file that belongs to a record in ``calls`` of the step, by its place there."""
    return f"call_{call:06d}.pt"


class Values:
    """Saves values where the settings say so, as many as fit into a limit."""

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(settings.values) if settings.values else None
        self.step = settings.values_of
        self.left_bytes = MOST_BYTES

    def wants(self, step: int) -> bool:
        """Tell whether anything of a step is saved."""
        return self.folder is not None and step == self.step

    def of_process(self, part: str) -> None:
        """Use this part of the folder, where each process but the first has its own."""
        if self.folder is not None:
            self.folder /= part

    def save(self, call: int, value: Any) -> None:
        """Save the tensors in a value that a record in ``calls`` of the wanted step has the digest of."""
        assert self.folder is not None
        tensors = [leaf.detach() for leaf in leaves(value) if isinstance(leaf, Tensor)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if size > self.left_bytes:
            return
        self.left_bytes -= size
        self.folder.mkdir(parents=True, exist_ok=True)
        # A view would be saved with all of what it is a view of.
        _save([tensor.cpu().clone() for tensor in tensors], self.folder / value_name(call))
