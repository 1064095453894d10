"""The ONE table of spellings that experiment files had before there was a schema, with the ones it has.

`RENAMED` gives a key its new path, `SECTIONS` a section its new name, and `VALUES` changes a value on the way.
``_PARAMETERS`` lists what single components read: ``training.x`` is now ``training.params.x``. The names are those of
the experiments of BEM; a name that is in neither the schema nor here is an error, so that a typing mistake is not taken
for a parameter.
"""

from __future__ import annotations

from typing import Any

from bem_core.config.merge import Path

_RENAMED = {
    # Top-level keys.
    "experiment_name": "name",
    "experiment_id": "name",
    "seed": "training.seed",
    "deterministic": "training.deterministic",
    "cuda_deterministic": "training.deterministic",
    "output_dir": "output.output_dir",
    "save_total_limit": "output.save_total_limit",
    "load_best_model_at_end": "output.load_best_model_at_end",
    "metric_for_best_model": "output.metric_for_best_model",
    "greater_is_better": "output.greater_is_better",
    "eval_batch_size": "evaluation.eval_batch_size",
    "eval_seq_len": "evaluation.params.eval_seq_len",
    "eval_batches": "evaluation.params.eval_batches",
    "eval_episodes": "evaluation.params.eval_episodes",
    "num_episodes": "training.params.num_episodes",
    "train_eval_split": "data.params.train_eval_split",
    "database_path": "metadata.database_path",
    "method_type": "metadata.method_type",
    "approach": "metadata.approach",
    "phase": "metadata.phase",
    "training_phase": "metadata.training_phase",
    "base_experiment": "metadata.base_experiment",
    "universal_constraints": "metadata.universal_constraints",
    "promotion_rules": "metadata.promotion_rules",
    # Training.
    "training.lr": "training.learning_rate",
    "training.epochs": "training.max_epochs",
    "training.num_epochs": "training.max_epochs",
    "training.num_train_epochs": "training.max_epochs",
    "training.num_steps": "training.max_steps",
    "training.grad_clip": "training.max_grad_norm",
    "training.grad_clip_norm": "training.max_grad_norm",
    "training.gradient_clip_norm": "training.max_grad_norm",
    "training.max_gradient_norm": "training.max_grad_norm",
    "training.eval_every": "training.eval_steps",
    "training.evaluation_steps": "training.eval_steps",
    "training.evaluation_strategy": "training.eval_strategy",
    "training.save_every": "training.save_steps",
    "training.log_every": "training.logging_steps",
    "training.lr_scheduler": "training.scheduler_type",
    "training.lr_scheduler_type": "training.scheduler_type",
    "training.gradient_checkpointing": "hardware.gradient_checkpointing",
    "evaluation.eval_strategy": "training.eval_strategy",
    "evaluation.eval_steps": "training.eval_steps",
    "evaluation.save_steps": "training.save_steps",
    "evaluation.logging_steps": "training.logging_steps",
    "evaluation.profile_tokens_per_second": "evaluation.params.profile_tokens_per_second",
    # Model and data.
    "model.hidden_dim": "model.hidden_size",
    "model.custom_params": "model.params",
    "model.mixed_precision": "hardware.mixed_precision",
    "data.train_data": "data.train_file",
    "data.training_data": "data.train_file",
    "data.eval_file": "data.validation_file",
    "data.eval_data": "data.validation_file",
    # Hardware, logging, output.
    "hardware.dataloader_num_workers": "data.dataloader_num_workers",
    "hardware.pin_memory": "data.dataloader_pin_memory",
    "system.device": "hardware.device",
    "system.mixed_precision": "hardware.mixed_precision",
    "system.gradient_checkpointing": "hardware.gradient_checkpointing",
    "system.deterministic": "training.deterministic",
    "system.torch_deterministic": "training.deterministic",
    "logging.log_level": "logging.level",
    "logging.log_metrics": "logging.metrics_to_log",
    "logging.track_metrics": "logging.metrics_to_log",
    "logging.log_interval": "logging.log_frequency",
    "logging.use_wandb": "logging.wandb_enabled",
    "output.results_dir": "output.output_dir",
    "output.seed": "training.seed",
    "output.deterministic": "training.deterministic",
    # Budget.
    "budget.flop_tolerance": "budget.flops_tolerance",
    "budget.tolerance": "budget.parameter_tolerance",
    "budget.base_params": "budget.baseline_params",
    "budget.memory_mb": "budget.baseline_memory_mb",
    "budget.enforce_during_training": "budget.enforce_constraints",
    # Two switches that were one choice.
    "training.fp16": "hardware.mixed_precision",
    "training.bf16": "hardware.mixed_precision",
    "hardware.fp16": "hardware.mixed_precision",
    "hardware.bf16": "hardware.mixed_precision",
}

# Sections with another name.
SECTIONS = {"budget_constraints": "budget"}

# Old key: the new value of each old one. An old value that is not here says nothing and is left out.
VALUES: dict[Path, dict[Any, Any]] = {
    ("training", "fp16"): {True: "fp16"},
    ("training", "bf16"): {True: "bf16"},
    ("hardware", "fp16"): {True: "fp16"},
    ("hardware", "bf16"): {True: "bf16"},
}

_PARAMETERS = {
    "budget": """
        approx_flops attachment_points bem_params cache_safety compute_overhead_tolerance fixed_flops
        latency_overhead_tolerance latency_tolerance max_factor_condition_number max_param_increase_pct
        memory_overhead_tolerance min_effective_rank minimal_overhead pregen_timing_tolerance storage_overhead_mb
        total_params
    """,
    "data": """
        academic_papers adversarial_paraphrases adversarial_perturbations adversarial_scrambling
        adversarial_synonyms augmentation_prob canary_suite coherence_eval_file compositional_tasks context_lengths
        conversational domain_coverage enable_vision_augmentation environment_config eval_suites expert_trace_config
        feedback_stream finance_docs format_eval_file hard_negatives_file image_dir image_preprocessing
        injection_scenarios legal_qa long_context_data max_answer_length max_retrieved_docs max_text_length
        medical_qa min_retrieval_score mission_specific pretraining_corpus red_team_suite retrieval_context_file
        retrieval_index safety_datasets scrambler_ratio seed_rotation shared_datasets synthesize_traces
        technical_docs temporal_2018_2019 temporal_2023_2024 trace_data violation_categories vision_features
    """,
    "evaluation": """
        adversarial_prompts bc_metrics bem_metrics cache_hit_rate cache_monitoring canary_regression_threshold
        composition_metrics compression_analysis consistency_analysis constitutional_dataset coverage_analysis
        diagonal_metrics enable_red_team eval_frequency_min expected_improvement fp8_metrics hallucination_detection
        index_swap_evaluation index_swap_test latency_breakdown latency_profiling max_orthogonality_error
        max_performance_drop min_constitutional_compliance mission_gates mole_metrics num_safety_levels
        online_metrics performance_dataset performance_gates phase_metrics red_team_frequency safety_dataset
        sparsity_validation stability_validation stateful_metrics statistical_analysis target_violation_reduction
        track_canary_performance universal_gates vqa_metrics warmstart_metrics
    """,
    "hardware": """
        network_bandwidth_mbps persistent_storage_gb
    """,
    "logging": """
        debug_action_selection debug_cross_attention debug_kronecker_computation debug_modulation_effects
        debug_safety_projections export_cache_events export_contradiction_analysis export_detailed_telemetry
        export_diagonal_data export_hard_negative_data export_numerical_verification export_phase_transitions
        export_quantization_data export_routing_data export_state_data export_svd_data log_action_distributions
        log_alignment_metrics log_attention_patterns log_basis_evolution log_bem_weights log_canary_results
        log_constitutional_compliance log_drift_monitoring log_expert_trace_stats log_factor_evolution
        log_feedback_processing log_film_parameters log_format log_format_compliance log_gate_shaping_metrics
        log_kernel_performance log_mask_statistics log_multimodal_stats log_numerical_stability log_online_updates
        log_orthogonality_stats log_plan_length_evolution log_policy_updates log_retrieval_statistics
        log_router_decisions log_safety_metrics log_spectral_metrics log_spectral_norms log_subspace_projections
        log_temperature_evolution log_trust_region_stats log_validity_metrics log_vision_processing
        save_canary_results save_composition_decisions save_gating_decisions save_model save_predictions
        save_retrieval_analysis save_routing_decisions structured_logging telemetry track_activations
        track_gradients
    """,
    "model": """
        action_space adalora_config auto_rollback base_size bem_biased_eviction bem_config bem_gated_writes
        cache_policy_config canary_gating controller dual_path_config encoder film_config horizon kl_bound
        lora_config lorahub_config memory_system moelora_config multimodal per_layer_basis precision qlora_config
        quantization retrieval_index router_type runtime_adjustable safety_basis_type sep_enabled shadow_mode
        ssm_coupling switch_lora_config target_size type update_type use_hysteresis vision vision_dim
    """,
    "output": """
        export_metrics generate_plots log_streaming required_outputs save_attention_maps save_best_only
        save_consistency_analysis save_coverage_analysis save_detailed_results save_frequency_min save_predictions
    """,
    "safety": """
        alert_thresholds auto_fallback_on_instability auto_recovery auto_reset_on_instability automatic_fallback
        canary_suites check_data_integrity check_label_consistency condition_number_emergency_threshold
        constitutional_safety_checks constitutional_scorer cross_encoder_timeout_ms detect_vision_anomalies
        emergency_stop_conditions enable_emergency_stabilization enable_kl_monitoring enable_memory_monitoring
        enable_numerical_checks enable_performance_monitoring enable_safety_monitoring enable_safety_system
        identity_drift_threshold lagrangian_constraints max_diagonal_magnitude max_image_size_mb max_kl_divergence
        min_reward_threshold monitor_base_drift monitor_contamination_rate monitoring_dashboards numerical_safety
        output_validity_monitoring parameter_safety_checks parameter_saturation_threshold policy_entropy_floor
        prevent_catastrophic_forgetting recovery_checkpoint recovery_cooldown_min safety_basis safety_controller
        target_flops target_params validate_architecture_compatibility validate_baseline_performance
        validate_composition_bounds validate_contradiction_handling validate_diagonal_bounds validate_diagonal_head
        validate_fp16_numerics validate_fp8_numerics validate_hard_negative_quality validate_hard_negatives
        validate_memory_bounds validate_ood_scenarios validate_policy_over_memory validate_rank_bounds
        validate_reconstruction_quality validate_routing_decisions validate_routing_stability validate_site_mapping
        validate_svd_init validate_svd_initialization verify_adaptation_stability verify_expert_balance
        verify_expert_utilization verify_quantization_integrity verify_sparsity_patterns verify_statistical_methods
        violation_detector vision_gradient_clipping
    """,
    "training": """
        action_smoothing adaptive_lr adversarial_schedule alignment_loss_weight alignment_weight aux_loss_weight
        basis_orthogonal_reg bc_batch_size bc_epochs budget_penalty_weight code_dim composition_learning
        conflict_loss_weight consistency_loss_weight controller_dim coverage_loss_weight hallucination_loss_weight
        primary_loss_weight vision_dim
        composition_loss_weight constitutional_loss_weight constraint_warmup_epochs contradiction_loss_weight
        controller_lr controller_lr_multiplier curriculum_stages decorrelation_annealing decorrelation_loss_weight
        diagonal_training diversity_loss_weight diversity_weight emergency_reset_threshold
        enable_conflict_supervision enable_curriculum episodes_per_update factor_learning_rate film_controller_lr
        film_reg_weight fp8_qat_training gamma_beta_lr gate_entropy_weight gate_shaping_loss_weight
        generator_gradient_check hard_negative_training identity_reg_weight interference_penalty_weight
        kronecker_lr_multiplier kronecker_reg_weight lora_alpha lora_dropout lr_patience lr_reduction_factor
        macro_policy_lr mask_consistency_weight max_episode_length max_performance_drop memory_lr memory_strength
        memory_training modulation_lr_multiplier moe_training orthogonal_loss_weight orthogonal_reg_weight
        orthogonality_loss_weight orthogonality_warmup_epochs orthogonality_weight orthogonalization_frequency
        performance_check_frequency pg_phase phase_0 policy_learning_rate projection_lr_multiplier
        quantized_training reconstruction_tolerance rehearsal_strategy residual_scale_lr_multiplier
        rollback_threshold rollout_buffer_size safety_consistency_reg safety_curriculum safety_loss_weight safety_lr
        safety_warmup_epochs safety_weight smoothness_reg_weight sparsity_annealing sparsity_penalty_weight
        spectral_penalty_weight spectral_reg_weight stability_check_steps stability_monitoring
        stability_penalty_weight stage_warmup_steps stateful_training switch_training task_boundary_detection
        temperature_reg_weight text_weight thaw_schedule use_separate_optimizers utility_weight
        validate_cache_safety validate_initialization variant_lr_multiplier violation_constraint_weight
        vision_dropout vision_lr vision_weight warmstart_training
    """,
}

# Sections of components whose names are so near to those of the schema that they would pass for typing mistakes.
COMPONENTS = frozenset("experiment models outputs pg_training validation".split())


def _table() -> dict[Path, Path]:
    table: dict[Path, Path] = {tuple(old.split(".")): tuple(new.split(".")) for old, new in _RENAMED.items()}
    for section, names in _PARAMETERS.items():
        table |= {(section, name): (section, "params", name) for name in names.split()}
    return table


RENAMED: dict[Path, Path] = _table()
