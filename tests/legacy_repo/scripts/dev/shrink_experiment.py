#!/usr/bin/env python
"""Write a copy of an experiment that runs on a laptop in seconds: every size and count is capped.

Usage:
    python scripts/dev/shrink_experiment.py experiments/PT1_head_gating.yml /tmp/tiny.yml
"""
import sys

import yaml

CAPS = {
    "hidden_dim": 32, "hidden_size": 32, "num_layers": 2, "vision_dim": 32, "controller_dim": 32, "chunk_summary_dim": 48,
    "retrieval_dim": 16, "value_dim": 8, "safety_rank": 4, "num_heads": 2, "num_regions": 4, "max_prefix_tokens": 16,
    "max_steps": 4, "num_steps": 4, "num_epochs": 1, "num_episodes": 1, "warmup_steps": 2, "batch_size": 4,
    "gradient_accumulation_steps": 2, "num_traces": 8, "max_chunks_per_trace": 4, "chunk_size": 16,
    "eval_seq_len": 32, "eval_batches": 1, "eval_batch_size": 2, "max_seq_length": 16,
    "eval_steps": 2, "evaluation_steps": 2, "eval_every": 2, "save_steps": 4, "save_every": 4, "logging_steps": 1, "log_every": 1,
}
# u_dim * v_dim must be the width of the feed-forward layers of models/tiny-causal-lm, which is 64
EXACT = {"u_dim": 8, "v_dim": 8, "u_rank": 4, "v_rank": 4, "num_groups": 4, "heads_per_group": 1, "total_rank": 8, "active_rank": 4}


def shrink(value):
    if isinstance(value, dict):
        out = {}
        for key, one in value.items():
            if key in EXACT:
                out[key] = EXACT[key]
            elif key in CAPS and isinstance(one, int) and not isinstance(one, bool):
                out[key] = min(one, CAPS[key])
            else:
                out[key] = shrink(one)
        return out
    return value


def main():
    source, target = sys.argv[1:]
    with open(source) as f:
        config = yaml.safe_load(f)
    config = shrink(config)
    config.pop("base_config", None)
    if "macro_policy" not in config:
        config["training"].setdefault("max_steps", 4)  # those that count epochs
    trace = config.get("trace_generation")
    if trace:
        trace.pop("traces_file", None)
    with open(target, "w") as f:
        yaml.safe_dump(config, f, sort_keys=False)


if __name__ == "__main__":
    main()
