"""Building blocks."""

from .chunk_sticky_routing import ChunkStickyRouter
from .governance import BEMGovernance, SpectralGovernance
from .parallel_lora import AdapterGenerator, GeneratedParallelLoRA

__all__ = ["ChunkStickyRouter", "BEMGovernance", "SpectralGovernance", "AdapterGenerator", "GeneratedParallelLoRA"]
