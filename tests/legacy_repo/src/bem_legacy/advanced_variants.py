"""The V2 to V11 variants by name."""

from typing import Callable, Dict

from .modules.dual_path_lora import DualPathLoRA
from .modules.parallel_lora import GeneratedParallelLoRA


class AdvancedBEMFactory:
    builders: Dict[str, Callable] = {"V2": DualPathLoRA, "V11": GeneratedParallelLoRA}

    @classmethod
    def create(cls, variant: str, *args, **kwargs):
        return cls.builders[variant](*args, **kwargs)


class AdvancedVariantsRunner:
    def __init__(self, experiments_dir: str, output_dir: str, num_seeds: int = 5):
        self.experiments_dir, self.output_dir, self.num_seeds = experiments_dir, output_dir, num_seeds

    def plan(self, variants):
        return [(variant, seed) for variant in variants for seed in range(1, self.num_seeds + 1)]
