"""``bem-migrate verify trace`` around real programs: how they are started, how they end, what they are made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from click.testing import CliRunner

from migrate.cli import main
from migrate.verify.trace.launch import launch
from migrate.verify.trace.reader import read_trace
from migrate.verify.trace.recording.settings import Settings
from tests.verify.processes import assert_ended
from tests.verify.trace.trainings import same

Run = Callable[..., subprocess.CompletedProcess[str]]

TRAIN = """
    import os, random, sys, time
    import numpy as np
    import torch
    from torch.nn.utils import clip_grad_norm_
    torch.set_num_threads(1)

    def main():
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for step in range(6):
            optimizer.zero_grad()
            model(torch.randn(3, 4) * random.random()).pow(2).mean().backward()
            clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            time.sleep(0.3 * ("kill" in sys.argv))  # What waits to be written is written after a quarter of a second.
            if step == 3:
                at_step_3(sys.argv[1:])
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "torch": torch.get_rng_state()}
        torch.save({**state, "python": random.getstate(), "numpy": np.random.get_state()[1].tolist()}, "end.pt")
        print("done", sys.argv[1:], [entry for entry in sys.path if "bootstrap" in entry])

    def at_step_3(args):
        if "crash" in args:
            raise ValueError("no more")
        if "exit" in args:
            sys.exit(7)
        if "kill" in args:
            os.kill(os.getpid(), 9)
        if "hang" in args:
            print("hanging", flush=True)
            time.sleep(600)

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(dedent(TRAIN))
    return path


def trace(run_cli: Run, *command: str, options: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[3])
    paths = os.pathsep.join([root, *filter(None, [env.pop("PYTHONPATH", "")])])
    return run_cli("verify", "trace", "--out", "run.trace", *options, "--", *command, PYTHONPATH=paths, **env)


def steps(tmp_path: Path) -> list[str | None]:
    return [step.roots["parameters"] for step in read_trace(tmp_path / "run.trace").steps]


def test_every_way_to_start_a_program(program: Path, tmp_path: Path, run_cli: Run) -> None:
    """A script, a module, an installed program and a shell give one trace, and end like without it."""
    subprocess.run([sys.executable, program], cwd=tmp_path, check=True, capture_output=True)
    bare = torch.load(tmp_path / "end.pt", weights_only=True)
    entry = tmp_path / "bin" / "train"
    entry.parent.mkdir()
    entry.write_text(f"#!{sys.executable}\nimport sys\nfrom train import main\nsys.exit(main())\n")
    entry.chmod(0o755)
    commands = [
        (sys.executable, "train.py", "--level", "full", "--", "x"),
        (sys.executable, "-m", "train"),
        (str(entry),),
        ("sh", "-c", f"{sys.executable} train.py; true"),
    ]
    found = []
    for command in commands:
        done = trace(run_cli, *command, PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"done {list(command[2:]) if command[1:2] == ('train.py',) else []} []\n"
        assert "run.trace: complete; 6 steps" in done.stderr
        assert same(torch.load(tmp_path / "end.pt", weights_only=True), bare)
        found.append(steps(tmp_path))
    assert len(found[0]) == 6
    assert all(one == found[0] for one in found)


DRAWING = """
    {first}
    import numpy as np
    import torch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    np.random.seed(0)
    for _ in range(2):
        scale = np.random.choice(3) + np.random.rand()
        (model(torch.ones(1, 2)).sum() * scale).backward()
        optimizer.step()
"""


@pytest.mark.parametrize("first", ["import os", "import numpy.random", "import torch.utils.data"])
def test_draws_of_numpy_are_seen_whenever_it_is_loaded(first: str, program: Path, tmp_path: Path, run_cli: Run) -> None:
    program.write_text(dedent(DRAWING.format(first=first)))
    done = trace(run_cli, sys.executable, "train.py", options=("--level", "deep"))
    assert done.returncode == 0, done.stderr
    draws = [step.draws for step in read_trace(tmp_path / "run.trace").steps]
    assert [one["function"] for one in draws[1]] == ["numpy.choice", "numpy.rand"]
    assert draws[1][0]["at"][0].startswith("train.py:10 ")


GARBAGE = """
    import gc, sys, weakref
    gc.{switch}()
    loading, collected = [], []
    gc.callbacks.append(lambda phase, info: collected.append(info) if loading and info["generation"] == 2 else None)

    class Node:
        pass

    loading = [True]
    import torch
    loading = []
    switched = [gc.isenabled()]
    weight = torch.nn.Parameter(torch.ones(1))
    loading = ["torch._dynamo" not in sys.modules]
    optimizer = torch.optim.SGD([weight], lr=0.1)  # It loads `torch._dynamo`.
    loading = []
    switched += [gc.isenabled(), "torch._dynamo" in sys.modules]
    weight.sum().backward()
    optimizer.step()
    node = Node()
    node.itself = node
    gone = weakref.ref(node)
    del node
    gc.collect()
    print(len(collected), switched, gone(), any(one is weight for one in gc.get_objects()))
"""


@pytest.mark.parametrize(("switch", "is_enabled"), [("enable", True), ("disable", False)])
def test_garbage_is_collected_as_ever_but_not_while_torch_loads(
    switch: str, is_enabled: bool, program: Path, run_cli: Run
) -> None:
    program.write_text(dedent(GARBAGE.format(switch=switch)))
    done = trace(run_cli, sys.executable, "train.py")
    assert done.stdout.splitlines()[0] == f"0 {[is_enabled, is_enabled, True]} None True"


@pytest.mark.parametrize(
    ("how", "problem", "told"),
    [
        pytest.param("crash", "the run ended with ValueError: no more", "ValueError", id="exception"),
        pytest.param("exit", "the run ended with exit code 7", "exit code 7", id="exit-code"),
        pytest.param("kill", "no footer: the run goes on, or its", "the command was ended by SIGKILL", id="kill"),
    ],
)
def test_a_program_that_does_not_end_well(
    how: str, problem: str, told: str, program: Path, tmp_path: Path, run_cli: Run
) -> None:
    done = trace(run_cli, sys.executable, str(program), how)
    assert done.returncode == 3
    assert told in done.stderr
    found = read_trace(tmp_path / "run.trace")
    assert not found.complete
    assert (found.problem or "").startswith(problem)
    assert len(found.steps) == 4


def test_a_command_that_hangs_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    command = ["sh", "-c", "trap '' TERM; sleep 600 & echo $! > pid; wait"]
    ended = launch(command, Settings(out=str(tmp_path / "run.trace")), timeout_s=0.5, grace_s=0.5, cwd=tmp_path)
    assert ended.timed_out
    assert ended.code == -signal.SIGKILL
    assert_ended(Path("/proc", (tmp_path / "pid").read_text().strip(), "stat"))


STUBBORN = """
    import atexit, sys, time
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    atexit.register(lambda: open("atexit", "w").close())
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(torch.randn(400, 4)), num_workers=1)
    while True:
        try:
            for (x,) in loader:
                model(x).sum().backward()
                optimizer.step()
                print("step", end=" ")
        except BaseException:
            pass
        finally:
            open("finally", "w").close()
"""


def test_a_program_is_ended_after_a_step_whatever_it_catches(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "train.py").write_text(dedent(STUBBORN))
    done = trace(run_cli, sys.executable, "train.py", options=("--stop-after", "3", "--steps", "1:3"))
    assert done.returncode == 0, done.stderr
    assert "run.trace: complete, stopped after step 3; 2 steps" in done.stderr
    assert done.stdout == "step step "
    found = read_trace(tmp_path / "run.trace")
    assert [step.number for step in found.steps] == [1, 2]
    assert (found.footer or {})["stopped_after"] == found.header["stop_after"] == 3
    assert found.rest is None
    assert not {"atexit", "finally"} & {path.name for path in tmp_path.iterdir()}


def test_a_program_that_ends_before_is_not_stopped(program: Path, tmp_path: Path, run_cli: Run) -> None:
    done = trace(run_cli, sys.executable, str(program), options=("--stop-after", "7"))
    assert "run.trace: complete; 6 steps" in done.stderr
    assert (tmp_path / "end.pt").exists()


def test_stopping_the_command_stops_the_program(program: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "migrate.cli", "verify", "trace", "--out", "run.trace", "--", sys.executable]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [*command, str(program), "hang"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "KeyboardInterrupt" in err
    assert "the run ended with KeyboardInterrupt" in str(read_trace(tmp_path / "run.trace").problem)


def test_a_full_disk_ends_the_trace_and_not_the_program(program: Path, tmp_path: Path, run_cli: Run) -> None:
    """A limit on the size of files stands for the disk: writing fails in the middle of a record."""
    (tmp_path / "limited.py").write_text(
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); import train, torch\n"
        "torch.save = lambda *args: None\ntrain.main()\n"
    )
    done = trace(run_cli, "sh", "-c", f"ulimit -f 2; exec {sys.executable} limited.py", options=("--level", "deep"))
    assert done.stdout.startswith("done"), done.stderr
    assert "the tracer stopped: OSError: [Errno 27] File too large" in done.stderr
    assert done.returncode == 3
    assert not read_trace(tmp_path / "run.trace").complete


def test_a_program_with_packages_that_are_called_like_ours(program: Path, tmp_path: Path, run_cli: Run) -> None:
    for name in ("bem_core", "migrate"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("WHOSE = 'theirs'\n")
    (tmp_path / "sitecustomize.py").write_text("print('their sitecustomize')\n")
    text = program.read_text().replace('"end.pt"', repr(str(tmp_path / "end.pt")))
    program.write_text(text + "    import bem_core, migrate, sitecustomize\n    print(bem_core.WHOSE, migrate.WHOSE)\n")
    command = ["env", f"PYTHONPATH={BOOTSTRAP}:{tmp_path}", sys.executable, str(program)]
    out = ["--out", str(tmp_path / "run.trace")]
    done = run_cli("verify", "trace", *out, "--", *command, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "their sitecustomize"
    assert done.stdout.splitlines()[-1] == "theirs theirs"
    assert len(steps(tmp_path)) == 6


BOOTSTRAP = Path(__file__).parents[3] / "migrate" / "verify" / "trace" / "bootstrap"

SCRIPTED = """
    import torch
    from torch import nn
    from torch.nn import functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.dropout = nn.Linear(6, 3), nn.Dropout(0.2)

        def forward(self, x):
            drawn = torch.rand_like(x) + torch.normal(0.0, 1.0, [8, 6]) + torch.rand(8, 6)
            return functional.dropout(self.dropout(self.layer(drawn)), 0.1).sum()

    torch.manual_seed(0)
    model = torch.jit.script(Model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(8, 6)).backward()
        optimizer.step()
    print(model.layer.weight.sum().item().hex())
"""


@pytest.mark.parametrize("level", ["light", "full", "deep"])
def test_what_is_replaced_can_be_scripted(level: str, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "train.py").write_text(dedent(SCRIPTED))
    bare = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    done = trace(run_cli, sys.executable, "train.py", options=("--level", level))
    assert done.returncode == 0, done.stderr
    assert done.stdout == bare.stdout


RANKS = """
    import sys, torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
    torch.set_num_threads(1)

    def main(rank, folder):
        dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
        torch.manual_seed(0)
        data = TensorDataset(torch.randn(16, 4))
        model = DistributedDataParallel(torch.nn.Linear(4, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for (x,) in DataLoader(data, batch_size=4, sampler=DistributedSampler(data, 2, rank)):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()
        del model  # Else gloo sometimes waits for ever.
        dist.destroy_process_group()

    if __name__ == "__main__":
        torch.multiprocessing.spawn(main, (sys.argv[1],), 2)
"""


def test_a_trace_for_each_rank(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "ranks.py").write_text(dedent(RANKS))
    done = trace(run_cli, sys.executable, "ranks.py", str(tmp_path), options=("--level", "full"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("run.trace*")) == ["run.trace", "run.trace.rank1"]
    first, second = (read_trace(tmp_path / name) for name in ("run.trace", "run.trace.rank1"))
    assert [(one.header["rank"], one.header["world_size"]) for one in (first, second)] == [(0, 2), (1, 2)]
    assert first.names[0].roots[0]["wrapped"] == ["DistributedDataParallel"]
    assert first.names[0].members(0) == [["weight", "bias"]]
    assert [one.roots for one in first.steps] == [one.roots for one in second.steps]
    assert [one.losses for one in first.steps] != [one.losses for one in second.steps]
    assert len(first.steps) == 2


def test_every_rank_is_ended_after_a_step(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "ranks.py").write_text(dedent(RANKS))
    done = trace(run_cli, sys.executable, "ranks.py", str(tmp_path), options=("--stop-after", "1"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("complete, stopped after step 1; 1 steps") == 2


def test_results_of_functions_of_a_program(program: Path, tmp_path: Path, run_cli: Run) -> None:
    program.write_text(
        program.read_text().replace("def at_step_3(args):", "def at_step_3(args):\n    return {'score': 0.5}\n")
    )
    (tmp_path / "main.py").write_text("from train import main\nmain()\n")
    done = trace(
        run_cli, sys.executable, "main.py", options=("--metrics-of", "train:at_step_3", "--expect", "scheduler")
    )
    assert done.returncode == 0, done.stderr
    assert "never seen: scheduler" in done.stderr
    assert [step.metrics for step in read_trace(tmp_path / "run.trace").steps][4] == [["score", (0.5).hex()]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--out", "run.trace"], "Missing argument 'COMMAND...'", id="no-command"),
        pytest.param(["--", "python"], "Missing option '--out'", id="no-file"),
        pytest.param(["--out", "none/run.trace", "--", "python"], "none/run.trace: cannot be written", id="no-folder"),
        pytest.param(
            ["--out", "run.trace", "--", "no-such-program"], "no-such-program: cannot be run", id="no-program"
        ),
        pytest.param(["--out", "a", "--steps", "5:5", "--", "true"], "'5:5': expected A:B", id="window"),
        pytest.param(["--out", "a", "--metrics-of", "x", "--", "true"], "'x': expected module:function", id="metrics"),
        pytest.param(["--out", "a", "--level", "most", "--", "true"], "'most' is not one of", id="level"),
    ],
)
def test_wrong_use(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["verify", "trace", *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_ends_with_a_command_to_copy() -> None:
    done = CliRunner().invoke(main, ["verify", "trace", "--help"])
    assert "bem-migrate verify trace --out run.trace -- python" in done.stdout
    assert "\\b" not in done.stdout


def test_a_command_that_trains_nothing(run_cli: Run) -> None:
    done = trace(run_cli, "true")
    assert done.returncode == 3
    assert "no trace: no Python process of the command imported torch" in done.stderr
