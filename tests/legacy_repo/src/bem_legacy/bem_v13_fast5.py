"""The five fast variants of version 1.3."""

from dataclasses import dataclass


@dataclass
class BEMv13Config:
    variant: str = "V1"
    rank: int = 8
    parameter_budget: int = 50000


class BEMv13Factory:
    @staticmethod
    def create(base_layer, config: BEMv13Config):
        from .modules.parallel_lora import ParallelLoRAExpert

        return ParallelLoRAExpert(base_layer, config.rank)


def load_bem_v13_from_config(values: dict) -> BEMv13Config:
    return BEMv13Config(**values)


def validate_bem_v13_budget(num_parameters: int, config: BEMv13Config, tolerance: float = 0.05) -> bool:
    return abs(num_parameters - config.parameter_budget) <= tolerance * config.parameter_budget
