"""Save and load a checkpoint, beside writing and reading the same number of bytes; see README.md.

Every round measures all of them, one after the other, in an order that turns from round to round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console
from rich.table import Table

from bem_core.training.checkpoint import load_tree, save_tree
from bem_core.training.checkpoint_snapshot import snapshot
from bem_core.training.checkpoint_tree import encode

GOAL = 1.3


@dataclass(slots=True)
class Row:
    """One way to write or read, with the wall and CPU seconds of each round.

    Attributes:
        name: Row of the table.
        kind: Whether it does a ``write`` or a ``read``.
        run: Does it.
        output: What it writes, deleted before.
        wall_s: A number for each round.
        cpu_s: The same.
    """

    name: str
    kind: str
    run: Callable[[], object]
    output: Path | None = None
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def gpt2_shapes() -> dict[str, tuple[int, ...]]:
    """Return the parameters of GPT-2 small, 124 million numbers with the output tied to the embedding."""
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (50257, 768), "wpe.weight": (1024, 768)}
    layers = {"attn.c_attn": (768, 2304), "attn.c_proj": (768, 768), "mlp.c_fc": (768, 3072), "mlp.c_proj": (3072, 768)}
    for layer in range(12):
        for name, (rows, columns) in layers.items():
            shapes |= {f"h.{layer}.{name}.weight": (rows, columns), f"h.{layer}.{name}.bias": (columns,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{name}.weight": (768,), f"h.{layer}.{name}.bias": (768,)}
    return shapes | {"ln_f.weight": (768,), "ln_f.bias": (768,)}


def make_tree() -> dict[str, object]:
    """Return a model in fp32 and the state of AdamW for it: 1.5 GB."""
    model = {name: torch.randn(shape) for name, shape in gpt2_shapes().items()}
    moments = {
        index: {"step": torch.tensor(1.0), "exp_avg": torch.randn_like(value), "exp_avg_sq": torch.rand_like(value)}
        for index, value in enumerate(model.values())
    }
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "params": list(moments)}]
    return {"model": model, "optimizer": {"state": moments, "param_groups": groups}, "trainer": {"step": 1}}


def make_rows(folder: Path, tree: dict[str, object]) -> list[Row]:
    """Return what is measured; plain writing takes its bytes from the same memory as `save_tree`."""
    plain, ours, torch_file = folder / "plain", folder / "ours", folder / "torch"
    tensors = [tensor for part in encode(tree) for tensor in part.tensors.values()]
    sources = [tensor.view(-1).view(torch.uint8).numpy().data for tensor in tensors]
    size = sum(map(len, sources))

    def write_plain(step: int) -> None:
        with plain.open("wb", buffering=0) as file:
            for source in sources:
                for start in range(0, len(source), step):
                    file.write(source[start : start + step])
            os.fsync(file.fileno())

    def torch_save() -> None:
        with torch_file.open("wb") as file:
            torch.save(tree, file)
            os.fsync(file.fileno())

    def read_plain(step: int) -> None:
        # Into new memory, as whoever loads something needs it.
        target = torch.empty(size, dtype=torch.uint8).numpy().data
        with plain.open("rb", buffering=0) as file:
            done = 0
            while done < size:
                done += file.readinto(target[done : done + step])

    return [
        Row("a write a tensor, fsync", "write", lambda: write_plain(size), plain),
        Row("writes of 1 MB, fsync", "write", lambda: write_plain(1 << 20), plain),
        Row("save_tree", "write", lambda: save_tree(ours, tree), ours),
        Row("torch.save, fsync", "write", torch_save, torch_file),
        Row("snapshot for a background save", "write", lambda: snapshot(encode(tree))),
        Row("one read", "read", lambda: read_plain(size)),
        Row("reads of 1 MB", "read", lambda: read_plain(1 << 20)),
        Row("load_tree", "read", lambda: load_tree(ours)),
        Row("torch.load", "read", lambda: torch.load(torch_file, weights_only=True)),
    ]


def measure(rows: list[Row], rounds: int) -> None:
    """Run all rows in every round, the writing ones first, each with nothing of its own on the disk."""
    for number in range(rounds):
        for kind in ("write", "read"):
            chosen = [row for row in rows if row.kind == kind]
            turn = number % len(chosen)
            for row in chosen[turn:] + chosen[:turn]:
                run_once(row)


def run_once(row: Row) -> None:
    """Measure one run; what other runs left to be written does not count."""
    if row.output and row.output.is_dir():
        shutil.rmtree(row.output)
    elif row.output:
        row.output.unlink(missing_ok=True)
    os.sync()
    wall, cpu = time.perf_counter(), time.process_time()
    row.run()
    row.wall_s.append(time.perf_counter() - wall)
    row.cpu_s.append(time.process_time() - cpu)


def extra_memory_mb(tree: dict[str, object], folder: Path) -> float:
    """Return by how much saving raises the peak of this process, in megabytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    save_tree(folder / "memory", tree)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def report(rows: list[Row], memory_mb: float) -> Table:
    """Return the table; the ratio is to the quicker of the two plain ways in the same round, then the median."""
    table = Table(title="Checkpoint of 124 million parameters with AdamW", title_justify="left")
    for heading in ("what", "wall s min", "wall s median", "CPU s min", "wall : plain", "CPU : plain", "goal"):
        table.add_column(heading, justify="left" if heading in ("what", "goal") else "right")
    for row in rows:
        plain = [one for one in rows if one.kind == row.kind][:2]
        wall, cpu = ratio(row, plain, "wall_s"), ratio(row, plain, "cpu_s")
        goal = f"<= {GOAL}: {'met' if wall <= GOAL else 'missed'}" if row.name == "save_tree" else ""
        seconds = (min(row.wall_s), median(row.wall_s), min(row.cpu_s))
        table.add_row(row.name, *(f"{value:.2f}" for value in seconds), f"{wall:.2f}", f"{cpu:.2f}", goal)
    table.caption = f"saving raises the peak memory by {memory_mb:.0f} MB"
    return table


def ratio(row: Row, plain: list[Row], name: str) -> float:
    """Return the median over the rounds of the ratio to the least of the plain ways."""
    least = [min(pair) for pair in zip(*(getattr(one, name) for one in plain), strict=True)]
    return median(value / base for value, base in zip(getattr(row, name), least, strict=True))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk")
    parser.add_argument("--json", type=Path, help="write the seconds of all rounds to this file")
    args = parser.parse_args()
    tree = make_tree()
    with tempfile.TemporaryDirectory(prefix="bem-bench-", dir=args.scratch) as name:
        memory_mb = extra_memory_mb(tree, Path(name))
        rows = make_rows(Path(name), tree)
        measure(rows, args.rounds)
    Console().print(report(rows, memory_mb))
    if args.json:
        args.json.write_text(json.dumps({row.name: {"wall_s": row.wall_s, "cpu_s": row.cpu_s} for row in rows}))


if __name__ == "__main__":
    main()
