"""Dataclasses that a YAML experiment is read into."""

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Optional


@dataclass
class BaseConfig:
    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)

    def update(self, updates: Dict[str, Any]) -> None:
        for key, value in updates.items():
            if not hasattr(self, key):
                raise ValueError(f"unknown configuration key: {key}")
            setattr(self, key, value)


@dataclass
class ModelConfig(BaseConfig):
    base_model: str = "microsoft/DialoGPT-small"
    model_path: Optional[str] = None
    hidden_size: int = 768
    num_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: Optional[int] = None
    torch_dtype: str = "float32"
    attn_implementation: str = "eager"
    custom_params: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size


@dataclass
class DataConfig(BaseConfig):
    train_file: Optional[str] = None
    validation_file: Optional[str] = None
    test_file: Optional[str] = None
    max_seq_length: int = 512
    max_samples: Optional[int] = None
    add_special_tokens: bool = True
    truncation: bool = True
    padding: str = "max_length"
    dataloader_num_workers: int = 0
    dataloader_pin_memory: bool = True


@dataclass
class HardwareConfig(BaseConfig):
    device: Optional[str] = None
    gpu_ids: Optional[List[int]] = None
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    distributed: bool = False
    local_rank: int = -1
    min_gpu_memory_gb: Optional[int] = None
    preferred_gpu: Optional[str] = None


@dataclass
class LoggingConfig(BaseConfig):
    level: str = "INFO"
    log_file: Optional[str] = None
    console_output: bool = True
    wandb_enabled: bool = False
    wandb_project: Optional[str] = None
    wandb_entity: Optional[str] = None
    wandb_tags: List[str] = field(default_factory=list)
    wandb_config: Dict[str, Any] = field(default_factory=dict)
    mlflow_enabled: bool = False
    mlflow_tracking_uri: Optional[str] = None
    mlflow_experiment_name: Optional[str] = None
    log_frequency: int = 10
    metrics_to_log: List[str] = field(default_factory=list)


@dataclass
class TrainingConfig(BaseConfig):
    learning_rate: float = 5e-5
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    max_steps: int = 1000
    max_epochs: Optional[int] = None
    warmup_steps: int = 100
    weight_decay: float = 0.01
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    scheduler_type: str = "linear"
    lr_scheduler_kwargs: Dict[str, Any] = field(default_factory=dict)
    eval_strategy: str = "steps"
    eval_steps: int = 100
    logging_steps: int = 50
    save_steps: int = 500
    early_stopping_patience: Optional[int] = None
    early_stopping_threshold: float = 0.0
    fp16: bool = False
    bf16: bool = False
    gradient_checkpointing: bool = False
    device: Optional[str] = None
    local_rank: int = -1
    seed: int = 42
    deterministic: bool = True


@dataclass
class ExperimentConfig(BaseConfig):
    name: str = "experiment"
    version: str = "1.0"
    description: str = ""
    experiment_type: str = "training"
    variant_id: Optional[str] = None
    base_config: Optional[str] = None
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    output_dir: str = "logs/experiment"
    save_total_limit: int = 3
    load_best_model_at_end: bool = True
    metric_for_best_model: str = "eval_loss"
    greater_is_better: bool = False
    seed: int = 42
    deterministic: bool = True
    budget_constraints: Dict[str, Any] = field(default_factory=dict)
    quality_gates: Dict[str, Any] = field(default_factory=dict)

    def get_output_path(self, filename: str = "") -> Path:
        return Path(os.path.expanduser(self.output_dir)) / filename

    def inherit_from_base(self, base_config: "ExperimentConfig") -> None:
        default = ExperimentConfig()
        for item in fields(self):
            if getattr(self, item.name) == getattr(default, item.name):
                setattr(self, item.name, getattr(base_config, item.name))
