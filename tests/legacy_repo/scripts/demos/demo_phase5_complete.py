#!/usr/bin/env python3
"""Phase 5 demo."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent.parent.parent))

from bem import BankedExpertsModule, BankedExpertsConfig, create_banked_experts_module
from bem import (
    HierarchicalBEMConfig,
    HierarchicalBEMModule,
    TelemetryCollector,
    TrustStatus,
)


def main():
    module: BankedExpertsModule = create_banked_experts_module(16, num_experts=2, top_k=1)
    collector = TelemetryCollector()
    collector.record("norm", float(module(torch.randn(1, 4, 16)).norm()))
    print(BankedExpertsConfig(), HierarchicalBEMConfig(), HierarchicalBEMModule, TrustStatus.WATCH, collector.summary())


if __name__ == "__main__":
    main()
