"""Cases whose sides are programs of all kinds: those that train in other ways, and those that misbehave.

Both sides are the same program; ``FAULT`` changes what the candidate does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import yaml

from migrate.verify.case_files import load_case
from migrate.verify.run import run_case
from migrate.verify.trace.reader import read_trace
from migrate.verify.verdict import Outcome, Verdict

Run = Callable[..., Verdict]

COMMON = """
    import os, sys, time
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    FAULT = os.environ.get("FAULT", "")
    torch.manual_seed(int(sys.argv[1]))
    data = TensorDataset(torch.randn(32, 4), torch.randint(2, (32,)))
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def train(loader, model=model, optimizer=optimizer):
        for step, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if FAULT == "gradient" and step == 2:
                next(model.parameters()).grad.mul_(1 + 1e-6)
            optimizer.step()
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program against itself."""

    def run(program: str, fault: str = "", command: tuple[str, ...] = ("{python}", "train.py"), **keys: Any) -> Verdict:
        (tmp_path / "train.py").write_text(dedent(COMMON) + dedent(program))
        side = {"command": [*command, "{seed}"]}
        case = {
            "reference": side,
            "candidate": {**side, "environment": {"FAULT": fault}},
            "seeds": [1],
            "steps": 4,
            "timeout_s": 600.0,
            **keys,
        }
        (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
        (verdict,) = run_case(load_case(tmp_path / "case.yaml"), tmp_path / "runs")
        return verdict

    return run


def told(verdict: Verdict) -> str:
    return "\n".join([*verdict.reasons, *verdict.notes])


WORKERS = """
    own = torch.Generator()
    own.manual_seed(3)
    def order(worker):
        # In a worker: what is drawn here shows in the batches alone.
        torch.manual_seed(worker + (FAULT == "worker"))
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 24
        def __getitem__(self, at):
            return data[at][0] + torch.randn(4), data[at][1]
    if __name__ == "__main__":
        train(DataLoader(Noisy(), 4, shuffle=True, num_workers=2, generator=own, worker_init_fn=order))
"""

SEVERAL = """
    judge = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    makers = torch.optim.SGD(judge.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    named = torch.Generator()
    named.manual_seed(5)
    for number in range(3):
        for at, (x, y) in enumerate(DataLoader(data, 8, shuffle=True)):
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x + torch.randn(x.shape, generator=named)), y) / 2
            scaler.scale(loss).backward()
            if at % 2:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
        makers.zero_grad()
        judge(x).pow(2).mean().backward()
        if FAULT == "second" and number == 1:
            makers.param_groups[0]["lr"] *= 1 + 1e-12
        makers.step()
"""

COMPILED = """
    if sys.argv[0]:
        fast = torch.compile(model, backend="aot_eager") if FAULT in ("compiled", "gradient") else model
        train(DataLoader(data, 4), model=fast)
"""

IN_PLACE = """
    if FAULT == "compiled":
        model.compile(backend="eager")
    train(DataLoader(data, 4))
"""

# Gloo can hang where a process group is destroyed while a wrapped model lives.
RANKS = """
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DistributedSampler

    def main(rank, folder, file):
        dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
        begin = 0
        if file:
            begin, weights, state = torch.load(file)
            model.load_state_dict(weights)
            optimizer.load_state_dict(state)
        wrapped = DistributedDataParallel(model)
        sampler = DistributedSampler(data, 2, rank)
        for step, (x, y) in enumerate(DataLoader(data, 4, sampler=sampler)):
            if step < begin:
                continue
            optimizer.zero_grad()
            loss = F.cross_entropy(wrapped(x), y)
            if FAULT and rank == 1 and step == 2:
                loss = loss * (1 + float(FAULT))
            loss.backward()
            optimizer.step()
            if rank == 0:
                torch.save([step + 1, model.state_dict(), optimizer.state_dict()], f"{folder}/step_{step + 1}.pt")
        del wrapped
        dist.destroy_process_group()

    if __name__ == "__main__":
        torch.multiprocessing.spawn(main, (sys.argv[2], "".join(sys.argv[3:])), 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "fault", "where"),
    [
        pytest.param(WORKERS, "worker", (1, "data"), id="loader workers"),
        pytest.param(SEVERAL, "second", (6, "hyper"), id="optimizers, models, accumulation, scaler, generators"),
        pytest.param(COMPILED, "gradient", (3, "backward"), id="compiled model"),
    ],
)
def test_what_trains_in_other_ways(program: str, fault: str, where: tuple[int, str], run: Run) -> None:
    verdict = run(program)
    assert verdict.outcome is Outcome.IDENTICAL, told(verdict)
    verdict = run(program, fault)
    assert verdict.outcome is Outcome.DIFFERENT, told(verdict)
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.phase) == where


@pytest.mark.parametrize("program", [COMPILED, IN_PLACE], ids=["torch.compile", "Module.compile"])
def test_a_compiled_model_against_the_model(program: str, run: Run, tmp_path: Path) -> None:
    """Names and calls are those of the model."""
    verdict = run(program, "compiled")
    assert verdict.outcome is Outcome.IDENTICAL, told(verdict)
    names = [read_trace(tmp_path / "runs" / "seed1" / f"{side}.trace").names for side in ("reference", "candidate")]
    assert [one["name"] for one in names[1][0].parameters] == [one["name"] for one in names[0][0].parameters]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "keys", "outcome"),
    [
        pytest.param("", {}, Outcome.IDENTICAL, id="the same"),
        pytest.param("1e-6", {}, Outcome.DIFFERENT, id="replayed"),
        pytest.param("1e-3", {"tolerance": {"reason": "its kernels"}}, Outcome.DIFFERENT, id="in lockstep"),
    ],
)
def test_two_ranks(fault: str, keys: dict[str, Any], outcome: Outcome, run: Run) -> None:
    """Each rank is compared, and has states and values of its own; a loss of one is a gradient of both in the step."""
    side = {"command": ["{python}", "train.py", "{seed}", "{out}"]}
    side |= {"checkpoints": r"step_(\d+)\.pt", "resume": ["{checkpoint}"]}
    verdict = run(RANKS, fault, reference=side, candidate={**side, "environment": {"FAULT": fault}}, **keys)
    assert verdict.outcome is outcome, told(verdict)
    assert "2 processes compared" in verdict.notes
    if not fault:
        return
    assert verdict.first is not None
    assert (verdict.first.step, verdict.first.phase, verdict.process) == (3, "loss", ".rank1")
    assert any(one.channel == "state" and one.error for one in verdict.divergences)
    if keys:
        assert verdict.mode == "lockstep"
        return
    for name in ("reference", "candidate"):
        assert f"{name}: step 3 was replayed from step_2.pt, after step 2" in verdict.notes
    assert verdict.localised is not None
    assert verdict.localised.error == pytest.approx(1e-6, rel=0.2)


COMPILED_STEP = """
    step = torch.compile(optimizer.step, backend="eager") if FAULT else optimizer.step
    for x, y in DataLoader(data, 4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step()
"""
MEGABYTES = """
    train(DataLoader(data, 4))
    for _ in range(40):
        sys.stdout.buffer.write(b"\\xff" * (1 << 20) + b"\\n")
        sys.stderr.write("x" * (1 << 20) + "\\n")
    print("the end")
    if FAULT:
        sys.exit(3)
"""
DISK = """
    import resource, signal
    if FAULT:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for _ in range(20):
        train(DataLoader(data, 4))
"""
ENDS = """
    train(DataLoader(data, 4))
    if FAULT == "killed":
        os.kill(os.getpid(), 9)
    if FAULT == "left at once":
        os._exit(0)
    if FAULT == "hangs":
        print("waiting for nobody", flush=True)
        time.sleep(600)
    if FAULT == "leaves a child":
        import subprocess
        subprocess.Popen(["sleep", "600"])
"""


@pytest.mark.parametrize(
    ("program", "fault", "reason"),
    [
        pytest.param(COMPILED_STEP, "1", "a compiled Optimizer.step cannot be recorded", id="compiled step"),
        pytest.param(MEGABYTES, "1", "ended with exit code 3: the end", id="megabytes of output, then an error"),
        pytest.param(DISK, "full", "cut off", id="no room for the trace"),
        pytest.param(ENDS, "killed", "ended with signal 9", id="killed"),
        pytest.param(ENDS, "left at once", "no footer", id="left without an end"),
    ],
)
def test_a_side_that_misbehaves_is_inconclusive(program: str, fault: str, reason: str, run: Run) -> None:
    verdict = run(program, fault)
    assert verdict.outcome is Outcome.INCONCLUSIVE, told(verdict)
    assert reason in told(verdict)
    assert "Traceback" not in "\n".join(verdict.reasons)


def test_a_side_that_hangs_after_its_training(run: Run) -> None:
    verdict = run(ENDS, "hangs", timeout_s=30.0)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "did not end within" in told(verdict)


@pytest.mark.parametrize("fault", ["", "leaves a child"])
def test_what_is_left_behind_or_printed_does_not_matter(fault: str, run: Run) -> None:
    verdict = run(ENDS if fault else MEGABYTES, fault)
    assert verdict.outcome is Outcome.IDENTICAL, told(verdict)


SWITCHES = """
    if FAULT == "at once":
        torch.use_deterministic_algorithms(False)
    print(torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    train(DataLoader(data, 4))
    if FAULT == "later":
        torch.backends.cudnn.benchmark = True
"""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("at once", "deterministic: True"), ("later", "cudnn_benchmark at the end")],
)
def test_a_side_that_sets_determinism_otherwise_is_another_environment(fault: str, reason: str, run: Run) -> None:
    verdict = run(SWITCHES, fault)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the environments differ" in told(verdict)
    assert reason in told(verdict)


@pytest.mark.parametrize(
    ("key", "switches"), [("warn", (True, True)), ("error", (True, False)), ("none", (False,) * 2)]
)
def test_determinism_is_asked_of_both_sides(key: str, switches: tuple[bool, bool], run: Run, tmp_path: Path) -> None:
    verdict = run(SWITCHES, determinism=key)
    assert verdict.outcome is Outcome.IDENTICAL, told(verdict)
    for side in ("reference", "candidate"):
        found = read_trace(tmp_path / "runs" / "seed1" / f"{side}.trace").header["fingerprint"]
        assert (found["deterministic"], found["deterministic_warn_only"]) == switches
        assert found["cudnn_deterministic"] is switches[0]
    assert not torch.are_deterministic_algorithms_enabled()
