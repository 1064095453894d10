"""Fused kernels, where a GPU and a compiler are there."""

try:
    from .cuda_ops import fused_generated_update, KERNELS_AVAILABLE
except ImportError:
    KERNELS_AVAILABLE = False

__all__ = ["fused_generated_update", "KERNELS_AVAILABLE"]
