"""One rank of a distributed evaluation: ``shard.py STORE SHARES RANK``; writes what it found as JSON."""

from __future__ import annotations

import json
import sys

import torch
import torch.distributed as dist

from tests.evaluation.models import Classifier, batches, model

CONFIG = {
    "metrics": ["accuracy", "loss", "ece", "macro_f1", "confidence"],
    "slices": {"covered": {"coverage_threshold": 0.5}, "news": {"domain": "news"}},
    "track_memory": True,
    "track_latency": True,
    "warmup_batches": 1,
}
# Batches of each rank, by number of ranks: uneven, and with a rank that has none.
SHARES = {"uneven": [[0, 2, 3], [1]], "empty": [[0, 1, 2, 3], []], "nothing": [[], []]}


def main() -> None:
    store, name, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    data = batches(5, 7, 2, 4)
    try:
        mine = [data[number] for number in SHARES[name][rank]]
        json.dump(Classifier(model(), CONFIG | {"sharded": True}).evaluate(mine).to_dict(), sys.stdout)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
