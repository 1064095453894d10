"""Data sets and batches."""

from bem_core.utils.batching import LengthBatches, collate, split_validation
from bem_core.utils.json_lines import JsonLines

__all__ = ["JsonLines", "LengthBatches", "collate", "split_validation"]
