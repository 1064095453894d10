"""Checks on a loaded experiment."""

from typing import List

from .base_config import ExperimentConfig


class ConfigValidator:
    def validate(self, config: ExperimentConfig) -> List[str]:
        problems = []
        if not config.name:
            problems.append("name is empty")
        if config.model.hidden_size % config.model.num_attention_heads:
            problems.append("hidden_size is not a multiple of num_attention_heads")
        if config.save_total_limit < 1:
            problems.append("save_total_limit must be at least 1")
        return problems


def validate_config(config: ExperimentConfig) -> None:
    problems = ConfigValidator().validate(config)
    if problems:
        raise ValueError("; ".join(problems))
