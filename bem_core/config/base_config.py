"""The typed experiment: what every component understands, and where its own parameters go.

Each section but `ExperimentConfig` has ``params``, a free mapping for what only one component reads. Sections that are
not declared here belong to components; they are free too and end up in `ExperimentConfig.components`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from bem_core.config.findings import Finding
from bem_core.config.schema import Count, Free, NonNegative, Positive, PositiveFloat, Range
from bem_core.config.training_config import TrainingConfig

__all__ = ["ExperimentConfig", "TrainingConfig"]

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model that is trained.

    Attributes:
        base_model: Name on the Hugging Face hub, or of another experiment's model.
        model_path: Folder with weights, in place of those of `base_model`.
        tokenizer: Name of the tokenizer; by default that of `base_model`.
        architecture: Which model of a component is built on `base_model`.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward layers.
        context_length: Tokens that the model attends to.
        torch_dtype: Type of the weights.
    """

    base_model: str | None = None
    model_path: str | None = None
    tokenizer: str | None = None
    architecture: str | None = None
    hidden_size: Positive | None = None
    intermediate_size: Positive | None = None
    num_layers: Positive | None = None
    num_attention_heads: Positive | None = None
    vocab_size: Positive | None = None
    context_length: Positive | None = None
    torch_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] = "eager"
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where examples come from and how they become batches.

    Attributes:
        randomness: Where the order of samples and random augmentation come from: ``keyed`` makes them a function of
            seed, epoch and sample, ``global`` draws them from the global generators of the process.
        max_seq_length: Tokens of one example.
        max_samples: Examples that are read at most.
        padding: ``max_length``, ``longest`` or ``do_not_pad``, as tokenizers of `transformers` take it.
        train: What only the training set has.
        eval: What only the validation set has.
        retrieval: Index and model that fetch context; None for none.
    """

    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    max_seq_length: Positive = 512
    max_samples: Positive | None = None
    add_special_tokens: bool = True
    truncation: bool = True
    padding: Literal["max_length", "longest", "do_not_pad"] = "max_length"
    dataloader_num_workers: Count = 0
    dataloader_pin_memory: bool = True
    randomness: Literal["keyed", "global"] = "keyed"
    train: Free = field(default_factory=dict)
    eval: Free = field(default_factory=dict)
    preprocessing: Free = field(default_factory=dict)
    retrieval: Free | None = None
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured.

    Attributes:
        metrics: Names of the metrics of quality.
        performance_metrics: Names of the metrics of speed and memory.
        slices: Parts of the test set that are reported on their own, by name; a mapping of conditions each.
        eval_batch_size: Examples of one batch; by default that of training.
        num_eval_samples: Examples that are evaluated at most.
        eval_frequency: Steps between the evaluations of a component, where they differ from ``training.eval_steps``.
        track_latency: Whether the time of each batch is measured; naming a latency among the metrics does the same.
        track_memory: Whether peak memory is read; naming it among the metrics does the same.
        warmup_batches: First batches that are left out of the latency.
        sharded: Whether each of several processes evaluates a part of the test set, and the parts are put together;
            otherwise each evaluates all of it.
    """

    metrics: list[str] = field(default_factory=list)
    performance_metrics: list[str] = field(default_factory=list)
    robustness_metrics: list[str] = field(default_factory=list)
    slices: Free = field(default_factory=dict)
    telemetry: Free = field(default_factory=dict)
    test_split: str = "test"
    eval_batch_size: Positive | None = None
    num_eval_samples: Positive | None = None
    eval_frequency: Positive | None = None
    track_latency: bool = False
    track_memory: bool = False
    warmup_batches: Count = 3
    sharded: bool = False
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """What it runs on.

    Attributes:
        device: ``auto`` takes the best there is.
        parallel: How the model is spread when `torchrun` starts several processes: ``ddp`` copies it,
            ``fsdp`` shards it.
        find_unused_parameters: Whether processes look at each step for parameters that the loss does not depend on,
            such as those of experts without samples; with ``ddp``.
        cpu_offload: Whether sharded parameters and the optimizer's state are kept on the host.
        process_timeout_s: Seconds that a process waits for the others before the run ends with an error.
        tf32: Whether float32 matrix products may round their inputs to 10 bits of mantissa on CUDA.
        mixed_precision: ``fp16`` or ``bf16``; true takes the one that the device is good at.
        local_rank: Rank on this machine in a distributed run, -1 outside of one.
        min_gpu_memory_gb: GPU memory without which a run does not begin, in GB.
        preferred_gpu: Part of the name of the device to choose where there are several kinds.
        cuda_version: A version specifier such as ``>=11.0``.
    """

    device: str | None = "auto"
    gpu_ids: list[Count] | None = None
    mixed_precision: bool | Literal["no", "fp16", "bf16"] = "no"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    tf32: bool = False
    gradient_checkpointing: bool = False
    compile_model: bool = False
    find_unused_parameters: bool = False
    cpu_offload: bool = False
    process_timeout_s: PositiveFloat = 1800.0
    distributed: bool = False
    local_rank: Annotated[int, Range(low=-1)] = -1
    min_gpu_memory_gb: PositiveFloat | None = None
    preferred_gpu: str | None = None
    cuda_version: str | None = None
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What a run reports, and where.

    Attributes:
        log_file: File of the log; by default one in ``output.output_dir``.
        log_dir: Folder of the event files of TensorBoard; by default ``tensorboard`` in the folder of the run.
        log_frequency: Steps between values of `metrics_to_log`.
        metrics_to_log: Which metrics a component logs while it trains, of those that it has.
        export_formats: Files that metrics are written to, ``metrics.jsonl`` and ``metrics.csv``.
        profile_steps: Steps that `torch.profiler` records, after ten that warm up; 0 for none.
    """

    level: Level = "INFO"
    log_file: str | None = None
    log_dir: str | None = None
    console_output: bool = True
    log_frequency: Positive = 10
    metrics_to_log: list[str] = field(default_factory=list)
    export_formats: list[Literal["jsonl", "csv"]] = field(default_factory=lambda: ["jsonl", "csv"])
    progress_bar: bool = True
    profile_steps: Count = 0
    tensorboard_enabled: bool = False
    wandb_enabled: bool = False
    wandb_project: str | None = None
    wandb_entity: str | None = None
    wandb_name: str | None = None
    wandb_tags: list[str] = field(default_factory=list)
    wandb_config: Free = field(default_factory=dict)
    mlflow_enabled: bool = False
    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str | None = None
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What a run leaves behind.

    Attributes:
        output_dir: Folder of checkpoints and results.
        checkpoint_name: Name of the checkpoint of a step; ``{step}`` stands for its number.
        checkpoint_format: ``full`` puts a checkpoint together on one rank, ``sharded`` has each rank write its part.
        async_save: Whether training goes on while a checkpoint is written.
        save_total_limit: Checkpoints that are kept, the newest first; None for all.
        metric_for_best_model: The metric by which the best checkpoint is chosen; by default the loss.
        greater_is_better: Its direction; by default that of the metric where it is a registered one, less otherwise.
    """

    output_dir: str | None = None
    checkpoint_name: str = "step-{step:08d}"
    checkpoint_format: Literal["full", "sharded"] = "full"
    async_save: bool = False
    save_total_limit: Positive | None = None
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    greater_is_better: bool | None = None
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SafetyConfig:
    """Checks before and during a run; the safety component has its settings in sections of its own.

    Attributes:
        early_stopping_patience: Checks without improvement after which a run is stopped.
        forbidden_sites: Parts of the model that no adapter may change.
        verify_cache_safety: Whether adapters at sites that would make a key-value cache stale are refused.
        max_param_increase_pct: Parameters that adapters may add, in percent of the base model.
        abort_on_breach: Whether a failed check ends the run.
    """

    enable_overflow_detection: bool = False
    enable_gradient_monitoring: bool = False
    max_consecutive_failures: Positive | None = None
    early_stopping_patience: Positive | None = None
    early_stopping_min_delta: NonNegative = 0.0
    verify_cache_safety: bool = False
    forbidden_sites: list[str] = field(default_factory=list)
    validate_attachment_points: bool = False
    validate_rank_schedule: bool = False
    validate_param_budget: bool = False
    max_param_increase_pct: NonNegative | None = None
    abort_on_breach: bool = False
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """What a variant may cost, against its baseline.

    Attributes:
        baseline_flops: Floating-point operations of one forward pass.
        baseline_memory_mb: Peak memory of the baseline, in MB.
        parameter_tolerance: Share by which the parameters may differ; 0.05 is five percent.
        memory_tolerance: Share by which the memory may be more.
        flops_tolerance: The same for floating-point operations.
    """

    baseline_params: Positive | None = None
    baseline_flops: Positive | None = None
    baseline_memory_mb: PositiveFloat | None = None
    parameter_tolerance: NonNegative | None = None
    memory_tolerance: NonNegative | None = None
    flops_tolerance: NonNegative | None = None
    enforce_constraints: bool = False
    abort_on_violation: bool = False
    params: Free = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One experiment.

    Attributes:
        name: By default the name of its file.
        experiment_type: Which component runs it.
        variant_id: Which variant of the component.
        compat: ``legacy`` gives options that the experiment does not set the values of its component's old trainer.
        quality_gates: What a run must reach, by name; docs/evaluation.md says how they are read.
        metadata: Anything that people want to write down.
        components: Sections that components declare, by name.
        findings: What a person should look at; no part of the experiment.
        sources: Where each leaf that files and overrides set was written, by dotted key; no part of the experiment.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    experiment_type: str = "training"
    variant_id: str | None = None
    compat: Literal["none", "legacy"] = "none"
    tags: list[str] = field(default_factory=list)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    quality_gates: Free = field(default_factory=dict)
    metadata: Free = field(default_factory=dict)
    components: dict[str, Free] = field(default_factory=dict)
    findings: tuple[Finding, ...] = field(default=(), compare=False, repr=False)
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole experiment, defaults included, in the form of a file; it loads to an equal one."""
        data = dataclasses.asdict(dataclasses.replace(self, findings=(), sources={}))
        del data["findings"], data["sources"]
        components: dict[str, Any] = data.pop("components")
        return data | components
