"""Notice when a parameter was changed by somebody else."""

import hashlib
import logging
from typing import Dict, List

import torch
import torch.nn as nn

logger = logging.getLogger(__name__)


class ParameterGuard:
    """Remembers digests of parameters; a module keeps one for those that nobody but its optimizer should change."""

    def __init__(self):
        self.digests: Dict[str, str] = {}

    @staticmethod
    def digest(values) -> str:
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu().double().reshape(-1).tolist()
        return hashlib.sha256(repr([float(v) for v in values]).encode()).hexdigest()

    def protect(self, name: str, values) -> None:
        self.digests[name] = self.digest(values)

    def verify(self, name: str, values) -> bool:
        return self.digests.get(name) == self.digest(values)

    def protect_module(self, module: nn.Module) -> None:
        for name, param in module.named_parameters():
            self.protect(name, param)

    def verify_module(self, module: nn.Module) -> List[str]:
        """Return the names of the parameters that are not what they were."""
        changed = [name for name, param in module.named_parameters() if not self.verify(name, param)]
        if changed:
            logger.warning(f"{len(changed)} parameters were changed: {changed[:5]}")
        return changed
