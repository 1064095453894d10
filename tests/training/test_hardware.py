"""What an experiment asks of its GPU, without one: the rules take names and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from bem_core.config.base_config import HardwareConfig
from bem_core.errors import ConfigError
from bem_core.training.setup import check_gpu, choose_gpu

NAMES = ["Tesla T4", "NVIDIA H100 80GB", "Tesla T4", "NVIDIA H100 80GB"]


@pytest.mark.parametrize(
    ("options", "ranks", "chosen"),
    [
        ({}, (0, 1, 3), [0, 1, 3]),
        ({"preferred_gpu": "h100"}, (0, 1, 2), [1, 3, 1]),
        ({"preferred_gpu": "A100"}, (0, 1), [0, 1]),
        ({"gpu_ids": [2, 0], "preferred_gpu": "h100"}, (0, 1), [2, 0]),
    ],
)
def test_each_process_gets_a_device(options: dict[str, Any], ranks: tuple[int, ...], chosen: list[int]) -> None:
    assert [choose_gpu(HardwareConfig(**options), NAMES, rank) for rank in ranks] == chosen


@pytest.mark.parametrize(
    ("options", "version", "message"),
    [
        ({"min_gpu_memory_gb": 40.0}, "12.4", "min_gpu_memory_gb: expected at least 40.0 GB, Tesla T4 has 15.8 GB"),
        ({"cuda_version": ">=12.6"}, "12.4", "cuda_version: expected >=12.6, torch has CUDA 12.4"),
        ({"cuda_version": ">=12.6"}, None, "cuda_version: expected >=12.6, torch has CUDA None"),
        ({"cuda_version": "new"}, "12.4", "cuda_version: expected something like '>=12.1'"),
    ],
)
def test_a_gpu_that_is_not_what_was_asked_for(options: dict[str, Any], version: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_gpu(HardwareConfig(**options), "Tesla T4", 15.8, version)


def test_a_gpu_that_is() -> None:
    check_gpu(HardwareConfig(min_gpu_memory_gb=15.0, cuda_version=">=11.0,<13"), "Tesla T4", 15.8, "12.4")
