"""Mixed precision: the autocast around forward and loss, and the scaling of the loss that float16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from bem_core.config.base_config import HardwareConfig

Mode = bool | str


def precision_dtype(mode: Mode, device: torch.device) -> torch.dtype | None:
    """Return the type that forward and loss run in; None for that of the weights.

    Args:
        mode: ``no``, ``fp16``, ``bf16``; True takes bfloat16 where the device has it, float16 otherwise.
        device: Where training runs.
    """
    if mode in (False, "no"):
        return None
    if mode is True:
        good = device.type != "cuda" or torch.cuda.is_bf16_supported()
        return torch.bfloat16 if good else torch.float16
    return torch.float16 if mode == "fp16" else torch.bfloat16


class Precision:
    """What a training step needs to run in another precision than that of the weights.

    Attributes:
        dtype: The type of the autocast; None for none.
        scaler: Scales the loss so that small gradients survive float16; None for other types.
    """

    def __init__(self, config: HardwareConfig, device: torch.device) -> None:
        self.dtype = precision_dtype(config.mixed_precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype is torch.float16 else None
        self._kind = device.type

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of forward and loss."""
        return nullcontext() if self.dtype is None else torch.autocast(self._kind, self.dtype)
