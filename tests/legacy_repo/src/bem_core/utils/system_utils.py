"""The machine a run is on."""

import random
import resource
from typing import Dict

import torch


def get_device_info() -> Dict[str, object]:
    return {"cuda": torch.cuda.is_available(), "num_gpus": torch.cuda.device_count(), "threads": torch.get_num_threads()}


def monitor_memory() -> float:
    """Peak resident memory in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def monitor_gpu_usage() -> Dict[int, int]:
    return {index: torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count())}


def set_random_seed(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
