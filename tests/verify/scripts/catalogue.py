"""Faults of the scripts beside this file, each with the first step and the phase in which it must be found.

They were written down before any of them was recorded, against trainings that the comparison had not been tried on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The first step at which a fault can show that begins at a step, an epoch or an update; or the first and the last one
# where that depends on the numbers.
First = Callable[[int], int | tuple[int, int]]


@dataclass(frozen=True)
class Injected:
    """A fault of a script.

    Attributes:
        script: Which.
        name: What the script calls it.
        begins: First and last step, epoch or update at which it may begin.
        first: See above; counted in steps of optimizers.
        phases: Those that are right, the likeliest first.
    """

    script: str
    name: str
    begins: tuple[int, int]
    first: First
    phases: tuple[str, ...]

    def expects(self, start: int, step: int, phase: str) -> tuple[bool, bool]:
        """Tell whether a first difference is at the right step, and whether in the right phase."""
        first = self.first(start)
        low, high = first if isinstance(first, tuple) else (first, first)
        return low <= step <= high, phase in self.phases


def _now(at: int) -> int:
    return at


def _next(at: int) -> int:
    return at + 1


def _ten(at: int) -> int:
    """The end of an epoch of ten steps, or what is done every ten."""
    return -(-at // 10) * 10


Row = tuple[str, tuple[int, int], First, str]
# Steps with which updates begin, the first for none.
_UPDATES = (0, 1, 3, 7, 13, 19, 25)

_LANGUAGE_MODEL: list[Row] = [
    ("lr_off_by_one", (2, 25), _now, "hyper"),
    ("warmup_one_longer", (1, 1), lambda _: 1, "hyper"),
    ("min_lr_zero", (8, 25), _now, "hyper"),
    ("loss_not_divided", (2, 28), _now, "loss"),
    ("no_clip", (2, 28), _now, "clip"),
    ("clip_limit", (2, 28), _now, "clip"),
    ("clip_per_micro", (2, 28), _now, "clip"),
    ("eval_iters", (2, 20), lambda at: _ten(at) if at % 10 != 1 else at - 1, "evaluation|rng"),
    ("eval_in_train_mode", (2, 9), lambda _: 10, "evaluation|mode"),
    ("eval_metric_median", (2, 9), lambda _: 10, "checkpoint"),
    ("no_train_after_eval", (2, 9), lambda _: 11, "mode"),
    ("decay_by_name", (1, 1), lambda _: 1, "setup"),
    ("untied", (1, 1), lambda _: 0, "setup"),
    ("no_residual_init", (1, 1), lambda _: 0, "setup"),
    ("no_attention_dropout", (2, 28), _now, "rng"),
    ("no_causal_mask", (2, 28), _now, "forward"),
    ("attention_scale", (2, 28), _now, "forward"),
    ("gelu_tanh", (2, 28), _now, "forward"),
    ("target_not_shifted", (2, 28), _now, "data"),
    ("batch_last_block", (2, 28), lambda at: (at, at + 2), "data"),
    ("beta2", (2, 28), _now, "hyper"),
    ("adam_l2", (1, 1), lambda _: 1, "hyper|setup"),
    ("ckpt_no_optimizer", (2, 9), lambda _: 10, "checkpoint"),
    ("ckpt_iter", (2, 9), lambda _: 10, "checkpoint"),
    ("best_direction", (12, 19), lambda _: 20, "checkpoint"),
    ("no_zero_grad", (2, 28), _next, "backward"),
    ("batch_fetched_twice", (2, 28), _now, "rng"),
]
_GAN: list[Row] = [
    ("sigmoid_twice", (2, 28), lambda at: 2 * at - 1, "forward"),
    ("d_grads_kept", (2, 28), lambda at: 2 * at - 1, "backward"),
    ("generator_in_eval", (2, 28), lambda at: 2 * at - 1, "mode|forward"),
    ("bn_momentum", (2, 28), lambda at: 2 * at + 1, "buffers"),
    ("no_label_smoothing", (2, 28), lambda at: 2 * at - 1, "loss"),
    ("r1_no_graph", (2, 28), lambda at: 2 * at - 1, "backward"),
    ("r1_weight", (2, 28), lambda at: 2 * at - 1, "loss"),
    ("d_loss_halved", (2, 28), lambda at: 2 * at - 1, "loss"),
    ("d_clip_added", (2, 28), lambda at: 2 * at - 1, "clip"),
    ("g_new_noise", (2, 28), lambda at: 2 * at, "rng"),
    ("d_frozen_dropout", (2, 28), lambda at: 2 * at, "mode|rng"),
    ("g_label_smoothed", (2, 28), lambda at: 2 * at, "loss"),
    ("g_minimax", (2, 28), lambda at: 2 * at, "loss"),
    ("d_beta1", (2, 9), lambda _: 21, "hyper"),
    ("g_first", (2, 28), lambda at: 2 * at - 1, "update|loss|forward|data"),
    ("g_every_second", (3, 26), lambda at: 2 * at if at % 2 else 2 * at + 2, "update|loss|forward|data|rng"),
    ("eval_in_train", (2, 9), lambda _: 20, "evaluation|mode"),
    ("fixed_noise_redrawn", (2, 9), lambda _: 20, "evaluation|rng"),
    ("g_scheduler_missing", (2, 9), lambda _: 22, "hyper"),
]
_POLICY_GRADIENT: list[Row] = [
    ("norm_unbiased", (2, 4), lambda at: _UPDATES[at], "buffers|forward"),
    ("actor_gain", (1, 1), lambda _: 0, "setup"),
    ("greedy_rollout", (2, 4), lambda at: _UPDATES[at], "rng"),
    ("gae_lambda", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("done_off_by_one", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("anneal_off_by_one", (2, 4), lambda at: _UPDATES[at], "hyper"),
    ("no_truncation_bootstrap", (2, 4), lambda at: _UPDATES[at], "loss|data"),
    ("reward_scale", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("returns_from_normalised", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("norm_never_updated", (2, 4), lambda at: _UPDATES[at], "buffers|forward"),
    ("old_logp_stale_norm", (2, 4), lambda at: _UPDATES[at], "loss|data"),
    ("shuffle_once", (2, 4), lambda at: _UPDATES[at] + 3, "rng"),
    ("no_advantage_norm", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("clip_coef", (1, 4), lambda at: (_UPDATES[at] + 1, _UPDATES[at] + 5), "loss"),
    ("min_for_max", (1, 4), lambda at: (_UPDATES[at], _UPDATES[at] + 5), "loss|backward"),
    ("no_value_clip", (2, 4), lambda at: (_UPDATES[at], _UPDATES[at] + 5), "loss|backward"),
    ("value_half_missing", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("entropy_sign", (2, 4), lambda at: _UPDATES[at], "loss"),
    ("clip_actor_only", (2, 4), lambda at: _UPDATES[at], "clip"),
    ("kl_never_stops", (1, 2), lambda at: _UPDATES[at + 1], "data|rng"),
]
_DENOISER: list[Row] = [
    ("ema_no_warmup", (2, 28), _ten, "evaluation|checkpoint"),
    ("ema_decay", (2, 28), _ten, "evaluation|checkpoint"),
    ("ema_wrong_way", (2, 28), _ten, "evaluation|checkpoint"),
    ("ema_before_step", (2, 28), _ten, "evaluation|checkpoint"),
    ("ema_every_second", (2, 27), _ten, "evaluation|checkpoint"),
    ("growth_interval", (1, 1), lambda _: (7, 8), "clip|loss"),
    ("eval_raw_model", (2, 28), _ten, "evaluation|mode"),
    ("eval_uses_training_generator", (2, 19), lambda at: (_ten(at), _ten(at) + 1), "evaluation|data|rng"),
    ("sample_no_clip", (2, 28), _ten, "evaluation"),
    ("t_from_one", (2, 28), _now, "data"),
    ("label_dropout", (2, 28), _now, "data"),
    ("linear_schedule", (2, 28), _now, "data"),
    ("no_autocast", (2, 28), _now, "forward"),
    ("predicts_x0", (2, 28), _now, "loss"),
    ("l1_loss", (2, 28), _now, "loss"),
    ("loss_in_bf16", (2, 28), _now, "loss"),
    ("snr_weight", (2, 28), _now, "loss"),
    ("no_unscale", (2, 28), _now, "clip"),
    ("clip_after_step", (2, 28), _now, "clip"),
    ("scheduler_first", (2, 7), _now, "hyper"),
    ("scheduler_skipped", (2, 6), _next, "hyper"),
    ("ckpt_ema_is_model", (2, 28), _ten, "checkpoint"),
    ("ckpt_half", (2, 28), _ten, "checkpoint"),
]
_CONTRASTIVE: list[Row] = [
    ("one_augmentation", (2, 28), _now, "rng"),
    ("momentum", (3, 28), _now, "forward"),
    ("no_momentum_update", (3, 28), _now, "forward"),
    ("pointer_stuck", (2, 28), _now, "buffers"),
    ("enqueue_first", (2, 28), _now, "forward"),
    ("enqueue_queries", (3, 28), _now, "buffers"),
    ("keys_not_normalised", (2, 28), _now, "forward"),
    ("negatives_only_half", (2, 28), _now, "forward"),
    ("scale_decayed", (1, 1), lambda _: 1, "setup"),
    ("scale_forgotten", (1, 1), lambda _: 0, "setup"),
    ("keep_last", (1, 1), lambda _: 10, "data"),
    ("views_swapped", (2, 28), _now, "data"),
    ("nesterov", (2, 28), _now, "hyper"),
    ("scale_frozen", (2, 28), _now, "backward"),
    ("positive_last", (2, 28), _now, "loss"),
    ("symmetric", (2, 28), _now, "loss"),
    ("scale_not_clamped", (2, 5), lambda at: (at, at + 6), "forward|update"),
    ("scheduler_per_step", (2, 9), _next, "hyper"),
    ("ema_reset", (2, 9), _next, "forward"),
]
_SEQUENCES: list[Row] = [
    ("workers_share_seed", (2, 6), lambda at: 5 * (at - 1) + 1, "data"),
    ("worker_seed_per_run", (2, 6), lambda at: 5 * (at - 1) + 1, "data"),
    ("drop_last", (2, 6), lambda at: (5 * at - 4, 5 * at - 1), "data|rng"),
    ("buckets_not_shuffled", (2, 6), lambda at: 5 * (at - 1) + 1, "rng"),
    ("forget_bias", (1, 1), lambda _: 0, "setup"),
    ("not_packed", (2, 6), lambda at: 5 * at - 4, "forward|rng"),
    ("first_layer_state", (2, 6), lambda at: 5 * (at - 1) + 1, "forward"),
    ("last_position", (2, 6), lambda at: 5 * (at - 1) + 1, "forward"),
    ("plateau_max", (1, 1), lambda _: (6, 36), "hyper"),
    ("eval_keeps_dropout", (2, 6), lambda at: 5 * at, "evaluation|mode"),
    ("eval_mean_of_means", (2, 6), lambda at: 5 * at, "evaluation|checkpoint|hyper"),
    ("no_label_smoothing", (2, 6), lambda at: 5 * (at - 1) + 1, "loss"),
    ("no_class_weights", (2, 6), lambda at: 5 * (at - 1) + 1, "loss"),
    ("clip_value", (2, 6), lambda at: 5 * (at - 1) + 1, "clip"),
    ("ckpt_epoch", (2, 6), lambda at: 5 * at, "checkpoint"),
    ("patience", (1, 1), lambda _: 35, "end|evaluation|data|update"),
    ("test_batch", (1, 1), lambda _: 35, "evaluation"),
]
_SHARPNESS: list[Row] = [
    ("norm_l1", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "update|backward|forward"),
    ("adaptive", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "update|backward|forward"),
    ("not_restored", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "update"),
    ("second_without_zero", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "backward"),
    ("rho", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "hyper"),
    ("lr", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "hyper"),
    ("no_smoothing", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "loss"),
    ("second_no_smoothing", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "loss"),
    ("bn_twice", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "buffers"),
    ("other_batch_second", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "data"),
    ("sgd_instead", (2, 14), lambda at: (2 * (at - 1) + 1, 2 * at), "update|data|loss|backward|forward"),
    ("scheduler_missing", (2, 6), lambda _: (2 * 7 + 1, 2 * 8), "hyper"),
    ("lbfgs_max_iter", (1, 1), lambda _: 2 * 15 + 1, "hyper"),
    ("lbfgs_history", (1, 1), lambda _: 2 * 15 + 1, "hyper"),
    ("lbfgs_no_line_search", (1, 1), lambda _: 2 * 15 + 1, "hyper"),
    ("lbfgs_no_zero", (17, 19), lambda at: 2 * 15 + at - 15, "backward"),
    ("lbfgs_no_l2", (17, 19), lambda at: 2 * 15 + at - 15, "loss"),
]
_ADAPTERS: list[Row] = [
    ("ste_no_mask", (2, 20), lambda at: (at, 30), "backward"),
    ("base_trained", (1, 1), lambda _: 0, "setup"),
    ("b_not_zero", (1, 1), lambda _: 0, "setup"),
    ("lora_scale", (3, 28), _now, "forward"),
    ("no_lora_dropout", (2, 28), _now, "rng"),
    ("no_gate_noise", (2, 28), _now, "rng"),
    ("top1", (2, 28), _now, "forward"),
    ("gate_not_renormalised", (2, 28), _now, "forward"),
    ("aux_detached", (2, 28), _now, "backward"),
    ("aux_weight", (2, 28), _now, "loss"),
    ("aux_last_only", (2, 28), _now, "loss"),
    ("lion_betas_swapped", (2, 28), _now, "update"),
    ("lion_no_decay", (2, 28), _now, "update"),
    ("lion_momentum_first", (3, 28), _now, "update"),
    ("curriculum_early", (2, 9), lambda _: 11, "data|rng"),
    ("no_set_epoch", (2, 9), lambda _: 11, "data"),
    ("head_forgotten", (1, 1), lambda _: 0, "setup"),
    ("pct_start", (1, 1), lambda _: 2, "hyper"),
    ("anneal", (1, 1), lambda _: (1, 2), "hyper"),
    ("unfreeze_late", (1, 1), lambda _: 15, "setup|hyper|backward"),
    ("unfreeze_lr", (1, 1), lambda _: 15, "hyper"),
    ("prune_amount", (1, 1), lambda _: 21, "forward|setup|buffers"),
    ("prune_removed", (1, 1), lambda _: 21, "setup|forward|backward|buffers"),
]
_IMAGES: list[Row] = [
    ("other_std", (2, 30), _now, "data"),
    ("flip_draws_more", (2, 30), _now, "rng"),
    ("flip_less", (2, 30), lambda at: (at, at + 1), "data"),
    ("flip_other_axis", (2, 30), _now, "data"),
    ("zero_gamma", (1, 1), lambda _: 0, "setup"),
    ("max_pool", (2, 30), _now, "forward"),
    ("dropout_p", (2, 30), _now, "forward"),
    ("drop_last", (1, 1), lambda _: 2, "hyper"),
    ("norms_decayed", (1, 1), lambda _: 1, "setup"),
    ("one_max_lr", (1, 1), lambda _: 1, "hyper"),
    ("no_momentum_cycle", (1, 1), lambda _: (1, 2), "hyper"),
    ("mixup_alpha", (2, 30), _now, "rng|data"),
    ("mixup_lam_folded", (2, 30), lambda at: (at, at + 6), "data"),
    ("mixup_numpy_permutation", (2, 30), _now, "rng"),
    ("eval_flip", (2, 30), lambda at: 8 * ((at + 6) // 8), "evaluation"),
    ("eval_batch_mean", (2, 30), lambda at: 8 * ((at + 6) // 8), "evaluation|checkpoint"),
    ("bn_momentum", (2, 30), _now, "buffers"),
    ("bn_eps", (2, 30), _now, "forward"),
    ("bn_frozen", (2, 30), _now, "mode"),
    ("mixup_off", (2, 30), _now, "loss"),
    ("autocast", (2, 30), _now, "forward"),
    ("labels_swapped", (2, 30), lambda at: (at, at + 4), "loss"),
    ("no_smoothing", (2, 30), _now, "loss"),
    ("grad_noise", (2, 30), _now, "backward"),
    ("grad_centralised", (2, 30), _now, "backward"),
    ("weights_rounded", (2, 30), lambda at: (at, at + 1), "update|forward"),
    ("scheduler_per_epoch", (2, 7), _next, "hyper"),
    ("ckpt_without_buffers", (2, 30), lambda at: 8 * ((at + 6) // 8), "checkpoint"),
]

_ROWS = {
    "language_model": _LANGUAGE_MODEL,
    "gan": _GAN,
    "policy_gradient": _POLICY_GRADIENT,
    "denoiser": _DENOISER,
    "contrastive": _CONTRASTIVE,
    "sequences": _SEQUENCES,
    "sharpness": _SHARPNESS,
    "adapters": _ADAPTERS,
    "images": _IMAGES,
}
FAULTS = [
    Injected(script, name, begins, first, tuple(phases.split("|")))
    for script, rows in _ROWS.items()
    for name, begins, first, phases in rows
]

# What is done in another way to the same effect, and what names of the reference are then.
REFACTORINGS: dict[tuple[str, str], dict[str, str]] = {
    ("language_model", "loss_module"): {},
    ("language_model", "foreach"): {},
    ("language_model", "inference_mode"): {},
    ("language_model", "metrics_twice"): {},
    ("language_model", "wrapped"): {"(.*)": "net.\\1"},
    ("language_model", "compile_eager"): {},
    ("language_model", "unused_loader"): {},
    ("language_model", "lambda_lr"): {},
    ("language_model", "ckpt_other_order"): {},
    ("language_model", "prefetch_after_backward"): {},
    ("language_model", "accumulate_in_list"): {},
    ("language_model", "zero_to_zeros"): {},
    ("gan", "construct_optimizers_late"): {},
    ("gan", "workers"): {},
    ("gan", "no_detach_retain"): {},
    ("policy_gradient", "inference_mode"): {},
    ("denoiser", "ema_by_formula"): {},
    ("denoiser", "ema_stays_eval"): {},
    ("denoiser", "loss_by_hand"): {},
    ("contrastive", "detach_keys"): {},
    ("contrastive", "wrapped"): {"(.*)": "backbone.\\1"},
    ("contrastive", "foreach"): {},
    ("contrastive", "zero_to_zeros"): {},
    ("sequences", "enforce_sorted_false"): {},
    ("sharpness", "reads_loss"): {},
    ("adapters", "no_checkpointing"): {},
    ("images", "prepare_in_collate"): {},
    ("images", "module_zero_grad"): {},
}
