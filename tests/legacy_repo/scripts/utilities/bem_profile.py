#!/usr/bin/env python3
"""Time the kernels."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bem.kernels.cuda_ops import benchmark_kernel_performance, validate_numerical_accuracy, KERNELS_AVAILABLE
from bem.hierarchical_bem import create_hierarchical_bem, HierarchicalBEMConfig
from bem.controller import HierarchicalController, RoutingLevel

if __name__ == "__main__":
    print(KERNELS_AVAILABLE, validate_numerical_accuracy(), benchmark_kernel_performance(2))
    print(create_hierarchical_bem, HierarchicalBEMConfig, HierarchicalController, RoutingLevel.CHUNK)
