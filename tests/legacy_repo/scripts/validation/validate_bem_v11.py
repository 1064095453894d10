#!/usr/bin/env python3
"""Checks on version 1.1."""

import torch

from bem.models.bem_v11 import BEMv11Model, create_bem_v11_model
from bem.modules import BEMGovernance, ChunkStickyRouter, GeneratedParallelLoRA
from bem.training import BEMv11TrainingConfig
from bem.evaluation import BEMv11Evaluator


def check_generator():
    try:
        from bem.modules.parallel_lora import AdapterGenerator

        return AdapterGenerator(8, 2)(torch.randn(1, 8)).shape == (1, 2)
    except Exception as e:
        print(e)
        return False


def check_governance():
    try:
        from bem.modules.governance import SpectralGovernance

        clamped, stats = SpectralGovernance(1.0).apply_spectral_clamp(10 * torch.eye(4))
        return stats["was_clamped"] and float(clamped.max()) <= 1.001
    except Exception as e:
        print(e)
        return False


if __name__ == "__main__":
    print(check_generator(), check_governance(), isinstance(create_bem_v11_model(), BEMv11Model))
    print(BEMGovernance, ChunkStickyRouter, GeneratedParallelLoRA, BEMv11TrainingConfig, BEMv11Evaluator)
