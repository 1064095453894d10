from .bem_v11_trainer import BEMTrainer, BEMv11Trainer, BEMv11TrainingConfig
from .cache_metrics import benchmark_bem_model

__all__ = ["BEMTrainer", "BEMv11Trainer", "BEMv11TrainingConfig", "benchmark_bem_model"]
