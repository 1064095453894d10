"""What a trace says about a training, held against what the training itself knows."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import xxhash
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from bem_core.errors import BemError
from bem_core.utils.digest import digest as digest_of_core
from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace, read_trace
from migrate.verify.trace.recording.digests import Slots, tensor_digest
from migrate.verify.trace.session import tracing
from migrate.verify.verdict import Outcome
from tests.verify.trace import trainings
from tests.verify.trace.trainings import Net, data, seed, trained


def record(folder: Path, training: Any, **options: Any) -> tuple[Trace, Any]:
    """Return the trace of a training and what it returned."""
    with tracing(folder / "run.trace", **options) as session:
        result = training(session) if training.__code__.co_argcount else training()
    trace = read_trace(folder / "run.trace")
    assert trace.problem is None
    return trace, result


def floats(values: list[str]) -> list[float]:
    return [float.fromhex(value) for value in values]


def test_the_order_of_a_training(tmp_path: Path) -> None:
    trace, result = record(tmp_path, trainings.plain, level="full")
    window = ["batch:0", "forward:0", "backward"] * 2 + ["clip", "step:0"]
    after = ["sched:0", "zero:0"]
    assert [step.phases for step in trace.steps] == [
        ["sched_init:0", "iter:0", *window],
        [*after, *window],
        [*after, *window],
        [*after, "train", "iter:0", *window],
        [*after, *window],
        [*after, *window],
    ]
    assert [floats(step.losses) for step in trace.steps] == [result["losses"][at : at + 2] for at in range(0, 12, 2)]
    assert [one.after_step for one in trace.evaluations] == [3, 6]
    assert [one.phases for one in trace.evaluations] == [["eval", "forward:0"], ["eval", "forward:0"]]
    assert trace.rest is not None
    assert trace.rest.phases == after
    assert trace.footer is not None
    assert (trace.footer["steps"], trace.footer["never_fired"]) == (6, [])


def test_tensors_by_name(tmp_path: Path) -> None:
    trace, result = record(tmp_path, trainings.plain, level="full")
    names, last = trace.names[-1], trace.steps[-1]
    weights = {name: tensor_digest(value).hex() for name, value in result["model"].items()}
    table = {one["name"]: one for one in names.parameters}
    assert list(table) == [
        "first.weight",
        "first.bias",
        "norm.weight",
        "norm.bias",
        "again.bias",
        "head.weight",
        "head.bias",
    ]
    assert table["first.weight"]["aliases"] == ["again.weight"]
    assert [one["name"] for one in names.frozen] == ["scale"]
    assert last.tensors["parameters"] == {name: weights[name] for name in table}
    buffers = [one["name"] for one in names.buffers]
    assert buffers == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    state = result["optimizers"][0]["state"]
    expected = {
        f"{name}.{key}": tensor_digest(state[at][key]).hex()
        for at, name in enumerate(table)
        for key in sorted(state[at])
    }
    assert last.tensors["state"] == expected
    root = xxhash.xxh3_128_hexdigest(b"".join(bytes.fromhex(weights[name]) for name in table))
    assert last.roots["parameters"] == root


def test_gradients_are_those_that_the_step_used(tmp_path: Path) -> None:
    def training() -> list[dict[str, str | None]]:
        seed()
        model, seen = Net(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for at in range(3):
            optimizer.zero_grad(set_to_none=at != 1)
            model(data().tensors[0])[:, : 1 + at].sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            named = model.named_parameters()
            seen.append({name: None if p.grad is None else tensor_digest(p.grad).hex() for name, p in named})
            optimizer.step()
        return seen

    trace, seen = record(tmp_path, training, level="full")
    assert [step.tensors["gradients"] for step in trace.steps] == seen
    assert any(value is None for value in seen[0].values())


def test_clipping(tmp_path: Path) -> None:
    def training() -> list[float]:
        model, norms = nn.Linear(2, 1, bias=False), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        for most in (1.0, 5.0, 50.0):
            model.weight.grad = torch.tensor([[3.0, 4.0]])
            norms.append(nn.utils.clip_grad_norm_(iter([model.weight]), most).item())
            optimizer.step()
        model.weight.grad = torch.tensor([[3.0, -4.0]])
        nn.utils.clip_grad_value_(model.weight, 3.5)
        optimizer.step()
        return norms

    trace, norms = record(tmp_path, training)
    found = [step.clips[0] for step in trace.steps]
    assert [float.fromhex(one["norm"]) for one in found] == [*norms, 4.0] == [5.0, 5.0, 5.0, 4.0]
    assert [one["active"] for one in found] == [True, True, False, True]
    assert [one["kind"] for one in found] == ["norm", "norm", "norm", "value"]
    assert float.fromhex(found[0]["coefficient"]) == pytest.approx(0.2, rel=1e-6)


def test_a_learning_rate_that_no_tensor_shows(tmp_path: Path) -> None:
    roots, rates = [], []
    for number, factor in enumerate((1, 1 + 1e-12)):

        def training(factor: float = factor) -> None:
            seed()
            model = nn.Linear(6, 3)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * factor)
            functional.cross_entropy(model(data().tensors[0]), data().tensors[1]).backward()
            optimizer.step()

        (tmp_path / str(number)).mkdir()
        with tracing(tmp_path / str(number) / "run.trace"):
            training()
        step = read_trace(tmp_path / str(number) / "run.trace").steps[0]
        roots.append(step.roots["parameters"])
        rates.append(step.groups[0]["lr"])
    assert roots[0] == roots[1]
    assert rates[0] != rates[1]


@pytest.mark.parametrize(
    ("make", "shows"),
    [
        pytest.param(lambda some: torch.optim.SGD(some, lr=0.1, momentum=0.9), True, id="momentum"),
        pytest.param(lambda some: torch.optim.Adam(some, lr=0.1), True, id="adam"),
        pytest.param(lambda some: torch.optim.Adagrad(some, lr=0.1), True, id="begins with a state"),
        pytest.param(lambda some: torch.optim.SGD(some, lr=0.1), False, id="has none"),
    ],
)
def test_an_optimizer_that_goes_on(make: Any, shows: bool, tmp_path: Path) -> None:
    def training(state: Any = None) -> Any:
        model = nn.Linear(2, 1)
        optimizer = make(model.parameters())
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(2):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        return optimizer.state_dict()

    first, state = record(tmp_path, lambda: training(), level="light")
    second, _ = record(tmp_path, lambda: training(state), level="light", steps=(1, 2))
    assert [trace.names[0].optimizers[0]["resumed"] for trace in (first, second)] == [False, shows]


def test_two_models_and_two_optimizers(tmp_path: Path) -> None:
    trace, _ = record(tmp_path, trainings.adversarial, level="full")
    names = trace.names[-1]
    assert [step.optimizer for step in trace.steps] == [1, 0] * 3
    assert [step.optimizer_step for step in trace.steps] == [0, 0, 1, 1, 2, 2]
    assert [one["class"].rpartition(".")[2] for one in names.optimizers] == ["SGD", "Sign"]
    # Both roots have no name in common, so no class is put before it.
    assert names.members(0) == [["weight", "bias"]]
    assert names.members(1) == [["0.weight", "0.bias", "2.weight", "2.bias"]]
    assert trace.steps[0].phases == [
        "zero:1",
        "forward:0",
        "grad",
        "forward:1",
        "forward:0",
        "backward",
        "clip",
        "step:1",
    ]
    assert len(trace.steps[0].losses) == 2
    assert trace.steps[2].tensors["state"].keys() == {f"{name}.count" for name in names.members(1)[0]}


def test_names_that_two_models_share(tmp_path: Path) -> None:
    def training() -> None:
        models = [nn.Linear(2, 2), nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))]
        optimizer = torch.optim.SGD([p for model in models for p in model.parameters()], lr=0.1)
        extra = nn.Parameter(torch.ones(()))
        optimizer.add_param_group({"params": [extra], "lr": 0.5})
        (sum(model(torch.ones(1, 2)).sum() for model in models) * extra).backward()
        optimizer.step()

    trace, _ = record(tmp_path, training)
    linear = ["Linear.weight", "Linear.bias", "Linear#2.weight", "Linear#2.bias", "0.weight", "0.bias"]
    assert trace.names[0].members(0) == [linear, ["optimizer0.group1.0"]]


def test_a_model_whose_parts_are_called_has_its_own_paths(tmp_path: Path) -> None:
    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy, self.value = nn.Linear(2, 2), nn.Linear(2, 1)

        def act(self, x: Tensor) -> Tensor:
            return self.policy(x).sum() + self.value(x).sum()  # type: ignore[no-any-return]

    def training() -> Agent:
        agent = Agent()
        optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)
        agent.act(torch.ones(1, 2)).backward()
        optimizer.step()
        return agent

    trace, _ = record(tmp_path, training)
    assert trace.names[0].members(0) == [["policy.weight", "policy.bias", "value.weight", "value.bias"]]
    assert [one["path"] for one in trace.names[0].entries] == ["policy", "value"]


def compile_whole(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="aot_eager")  # type: ignore[return-value]


def compile_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def compile_a_part(model: nn.Module) -> nn.Module:
    model.norm = torch.compile(model.norm, backend="eager")  # type: ignore[assignment]
    return model


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch calls it itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # the compiler
@pytest.mark.parametrize("compiling", [compile_whole, compile_in_place, compile_a_part])
def test_a_compiled_model_is_recorded_as_the_model(compiling: Any, tmp_path: Path) -> None:
    def training(compiling: Any = lambda model: model) -> None:
        seed()
        model = Net()
        optimizer = torch.optim.SGD(trained(model), lr=0.1)
        run = compiling(model)
        for x, y in DataLoader(data(), 4):
            optimizer.zero_grad()
            functional.cross_entropy(run(x), y).backward()
            optimizer.step()

    (tmp_path / "compiled").mkdir()
    plain, _ = record(tmp_path, lambda: training(), level="full")
    fast, _ = record(tmp_path / "compiled", lambda: training(compiling), level="full")
    assert (plain.names[0].roots[0]["compiled"], fast.names[0].roots[0]["compiled"]) == (False, True)
    assert [one.tensors for one in fast.steps] == [one.tensors for one in plain.steps]
    assert [one.modes for one in fast.steps] == [one.modes for one in plain.steps]
    assert [len(one.forwards) for one in fast.steps] == [1] * 6
    found = compare(plain, fast, plain_case())
    assert found.outcome is Outcome.IDENTICAL, found.reasons


def test_new_parameters_make_new_names(tmp_path: Path) -> None:
    def training() -> None:
        model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        optimizer = torch.optim.SGD(model["a"].parameters(), lr=0.1)
        for at in range(2):
            optimizer.zero_grad()
            model["b"](model["a"](torch.ones(1, 2))).sum().backward()
            optimizer.step()
            if at == 0:
                optimizer.add_param_group({"params": list(model["b"].parameters())})

    trace, _ = record(tmp_path, training, level="full")
    assert [step.names for step in trace.steps] == [0, 1]
    assert trace.names[1].members(0) == [["a.weight", "a.bias"], ["b.weight", "b.bias"]]
    assert trace.names[0].parameters == trace.names[1].parameters[:2]
    assert list(trace.steps[1].tensors["parameters"]) == ["a.weight", "a.bias", "b.weight", "b.bias"]


class Numbers(Dataset[Tensor]):
    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([float(index)])


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}], ids=str)
def test_indices_of_batches(tmp_path: Path, options: dict[str, Any]) -> None:
    def training() -> list[list[int]]:
        seed()
        loader, model = DataLoader(Numbers(), batch_size=3, shuffle=True, **options), nn.Linear(1, 1)
        optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.01), []
        for _ in range(2):
            for batch in loader:
                seen.append(batch.flatten().int().tolist())
                model(batch).sum().backward()
                optimizer.step()
        return seen

    trace, seen = record(tmp_path, training)
    assert [step.batches[0]["indices"] for step in trace.steps] == seen
    assert len(seen[3]) == 2
    assert trace.steps[0].batches[0]["digest"] == trace.steps[0].forwards[0]["inputs"]


def test_draws_from_generators(tmp_path: Path) -> None:
    def training(session: Any) -> None:
        own = torch.Generator()
        session.generator("own", own)
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        seed()
        for at in range(4):
            model(torch.ones(1, 1)).sum().backward()
            if at == 1:
                [random.getrandbits(32) for _ in range(5)]
            if at == 2:
                np.random.randint(0, 2**32, 700, dtype=np.uint32)
                torch.empty(1500, dtype=torch.int32).random_()
            if at == 3:
                torch.empty(3, dtype=torch.int32).random_(generator=own)
            optimizer.step()

    trace, _ = record(tmp_path, training, level="full")
    draws = [[step.rng[name]["draws"] for name in ("python", "numpy", "torch", "own")] for step in trace.steps[1:]]
    assert draws == [[5, 0, 0, 0], [0, 700, 1500, 0], [0, 0, 0, 3]]
    digests = [step.rng["python"]["digest"] for step in trace.steps]
    assert digests[0] != digests[1] == digests[2]


def test_a_normal_number_that_is_kept_shows_in_the_state(tmp_path: Path) -> None:
    """NumPy and Python make two at a time: the second call draws nothing and still changes the state."""

    def training() -> None:
        seed()
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.step()
            np.random.randn()
            random.gauss(0, 1)

    trace, _ = record(tmp_path, training, level="full")
    for name in ("numpy", "python"):
        assert len({step.rng[name]["digest"] for step in trace.steps}) == 3


def test_a_scaler_that_skips(tmp_path: Path) -> None:
    trace, _ = record(tmp_path, trainings.scaled)
    assert len(trace.steps) == 3
    begin, end = ["update", "zero:0", "forward:0", "backward", "unscale:0"], ["step:0"]
    assert trace.steps[1].phases == [*begin, "skip:0", *begin, *end]
    skipped = [event for step in trace.steps for event in step.scaler if event["skipped"]]
    assert [float.fromhex(event["scale"]) for event in skipped] == [1024.0]
    assert float.fromhex(trace.steps[1].scaler[-1]["scale"]) == 512.0


def test_evaluation_and_metrics(tmp_path: Path) -> None:
    def training(session: Any) -> float:
        seed()
        model, teacher = Net(), nn.Linear(6, 3)
        teacher.eval()
        optimizer = torch.optim.SGD(trained(model), lr=0.1)
        x, y = data().tensors
        for _ in range(2):
            with torch.no_grad():
                soft = teacher(x)
            (functional.cross_entropy(model(x), y) + functional.mse_loss(model(x), soft)).backward()
            optimizer.step()
        model.norm.eval()  # A part of the model: not an evaluation.
        model(x).sum().backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            score = functional.cross_entropy(model(x), y)
        session.metric("score", score)
        model.train()
        return score.item()

    trace, score = record(tmp_path, training)
    assert len(trace.evaluations) == 1
    evaluation = trace.evaluations[0]
    assert evaluation.after_step == 3
    assert evaluation.metrics == [["score", score.hex()]]
    assert evaluation.components == [["cross_entropy", score.hex()]]
    assert [(one["mode"], one["grad"], "outputs" in one) for one in evaluation.forwards] == [("eval", False, True)]
    assert [one["mode"] for one in trace.steps[0].forwards] == ["eval", "train", "train"]
    assert [name for name, _ in trace.steps[0].components] == ["cross_entropy", "mse_loss"]
    assert trace.steps[1].modes != trace.steps[2].modes


def test_results_of_functions_are_metrics(tmp_path: Path) -> None:
    names = [f"{__name__}:Judge.rate", f"{__name__}:judge", f"{__name__}:judged"]
    with tracing(tmp_path / "run.trace", metrics=names):
        Judge().rate()
        judge()
        judged()
    trace = read_trace(tmp_path / "run.trace")
    assert trace.rest is not None
    plain = [["a", (0.5).hex()], ["b.0", "3"], ["judge", (0.1).hex()]]
    assert trace.rest.metrics == [*plain, ["0.score.value", (0.2).hex()], ["0.score.count", "4"], ["1", "True"]]


class Score(NamedTuple):
    value: float
    count: int


@dataclass
class Judgement:
    score: Score


def judged() -> tuple[Judgement, bool]:
    return Judgement(Score(0.2, 4)), True


class Judge:
    def rate(self) -> dict[str, Any]:
        return {"a": 0.5, "b": [3]}


def judge() -> float:
    return 0.1


def test_checkpoints_by_what_is_in_them(tmp_path: Path) -> None:
    def training() -> None:
        seed()
        model = nn.Linear(2, 1)
        for name, epoch in (("a.pt", 1), ("other.pt", 1), ("a.pt", 2)):
            torch.save(
                {"model": model.state_dict(), "epoch": epoch, "lr": 0.1, "rng": torch.get_rng_state()}, tmp_path / name
            )

    trace, _ = record(tmp_path, training)
    one, other, third = trace.checkpoints
    assert one.digest == other.digest != third.digest
    assert list(one.entries) == ["model.weight", "model.bias", "epoch", "lr", "rng"]
    assert one.entries["epoch"] == "int:1"
    assert one.entries["lr"] == f"float:{(0.1).hex()}"
    assert (one.file, other.file) == ("a.pt", "other.pt")


@pytest.mark.parametrize(("window", "numbers"), [((2, 4), [2, 3]), ((4, 100), [4, 5]), (None, list(range(6)))])
def test_windows(tmp_path: Path, window: tuple[int, int] | None, numbers: list[int]) -> None:
    (tmp_path / "all").mkdir()
    trace, _ = record(tmp_path, trainings.plain, level="full", steps=window)
    whole, _ = record(tmp_path / "all", trainings.plain, level="full")
    assert [step.number for step in trace.steps] == numbers
    for step in trace.steps[1:]:
        assert (step.roots, step.tensors, step.phases) == (
            whole.steps[step.number].roots,
            whole.steps[step.number].tensors,
            whole.steps[step.number].phases,
        )
    assert trace.footer is not None
    assert trace.footer["steps"] == 6


def test_light_leaves_out_what_is_large(tmp_path: Path) -> None:
    def training() -> None:
        model = nn.Sequential(*[nn.Linear(300, 300) for _ in range(4)])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(27):
            model(torch.ones(1, 300)).sum().backward()
            optimizer.step()

    trace, _ = record(tmp_path, training, level="light")
    assert all(step.roots["parameters"] and not step.tensors for step in trace.steps)
    with_all = [step.number for step in trace.steps if step.roots["gradients"] and step.roots["state"]]
    assert with_all == [0, 25]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda weight: weight.data.view(-1)[5].add_(1), id="content"),
        pytest.param(lambda weight: setattr(weight, "data", weight.data.t()), id="transposed in place"),
        pytest.param(lambda weight: setattr(weight, "data", weight.data[:2]), id="shorter, at the same place"),
        pytest.param(lambda weight: setattr(weight, "data", weight.data.clone()[:, :2]), id="not contiguous"),
        pytest.param(lambda weight: weight.data.untyped_storage().resize_(0), id="no memory"),
    ],
)
def test_light_sees_what_becomes_of_a_parameter(change: Any, tmp_path: Path) -> None:
    """The root of a weight that was changed between two steps is that of a new one with this content."""
    weight = nn.Parameter(torch.arange(9.0).reshape(3, 3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with tracing(tmp_path / "run.trace", level="light"):
        for _ in range(2):
            optimizer.step()
        change(weight)
        optimizer.step()
    roots = [step.roots["parameters"] for step in read_trace(tmp_path / "run.trace").steps]
    assert roots[0] == roots[1] != roots[2]
    content = b"" if weight.data.untyped_storage().nbytes() == 0 else weight.detach().contiguous().numpy().tobytes()
    single = xxhash.xxh3_128_digest(f"torch.float32{tuple(weight.shape)}".encode() + content)
    if content:
        assert roots[2] == xxhash.xxh3_128_hexdigest(single)


def test_light_sees_tensors_of_other_kinds(tmp_path: Path) -> None:
    """The root is one of values: how they lie in memory makes no difference."""

    def root(weight: Tensor) -> str | None:
        parameter = nn.Parameter(weight, requires_grad=weight.is_floating_point() or weight.is_complex())
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        with tracing(tmp_path / "run.trace", level="light"):
            optimizer.step()
        return read_trace(tmp_path / "run.trace").steps[0].roots["parameters"]

    square = torch.arange(9.0).reshape(3, 3)
    assert root(square) == root(square.t().contiguous().t()) != root(square.t())
    assert root(square.bfloat16()) != root(square)
    assert root(torch.randn(3, dtype=torch.complex64).conj()) != root(torch.zeros(3, dtype=torch.complex64))
    sparse = square.to_sparse()
    assert root(sparse) == root(sparse.clone()) != root((square + 1).to_sparse())


def test_light_sees_every_seed_and_every_draw(tmp_path: Path) -> None:
    """States of Python and NumPy are only looked at where a mark of them has changed."""
    acts = [
        lambda: random.seed(3),
        lambda: random.seed(4),
        random.random,
        lambda: random.gauss(0, 1),
        lambda: [random.getrandbits(32) for _ in range(624)],
        lambda: np.random.seed(3),
        lambda: np.random.seed(4),
        np.random.rand,
        np.random.randn,
        lambda: np.random.randint(2**32, size=624, dtype=np.uint64),
        lambda: torch.manual_seed(5),
        lambda: torch.rand(1),
    ]
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for level in ("light", "full"):
        seed()
        with tracing(tmp_path / f"{level}.trace", level=level):
            for act in (lambda: None, *acts, lambda: None):
                act()
                optimizer.step()
    light, full = (read_trace(tmp_path / f"{level}.trace").steps for level in ("light", "full"))
    for name in ("python", "numpy", "torch"):
        states = [[step.rng[name]["digest"] for step in steps] for steps in (light, full)]
        changes = [[one != other for one, other in itertools.pairwise(some)] for some in states]
        assert changes[0] == changes[1]
        assert sum(changes[0]) == {"python": 5, "numpy": 5, "torch": 2}[name]


def test_deep_tells_each_module_and_each_draw(tmp_path: Path) -> None:
    def training() -> Tensor:
        seed()
        model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        out = model(data().tensors[0])
        out.retain_grad()
        functional.cross_entropy(out, data().tensors[1]).backward()
        optimizer.step()
        gradient = out.grad
        assert gradient is not None
        return gradient

    trace, gradient = record(tmp_path, training, level="deep")
    calls = trace.steps[0].calls
    assert [one["path"] for one in calls if "outputs" in one] == ["0", "1", "2", ""]
    assert calls[1]["inputs"] == calls[0]["outputs"]
    back = [one for one in calls if "gradient" in one]
    assert [one["path"] for one in back] == ["2", "", "1", "0"]
    assert {one["gradient"] for one in back[:2]} == {xxhash.xxh3_128_hexdigest(tensor_digest(gradient))}
    draws = {one["function"]: one["at"][0] for one in trace.steps[0].draws}
    assert draws["F.dropout"].startswith("test_records.py:")
    assert draws["torch.randint"].endswith(" data")


def test_a_hook_that_was_expected(tmp_path: Path) -> None:
    def training() -> None:
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.optim.lr_scheduler.StepLR(optimizer, 1)
        DataLoader(Numbers())
        optimizer.step()

    trace, _ = record(tmp_path, training, expect=["clip"])
    assert trace.footer is not None
    assert trace.footer["never_fired"] == ["backward", "clip", "forward", "scheduler"]


def test_states_and_lockstep(tmp_path: Path) -> None:
    """A run with another learning rate is put onto the way of the reference after each step."""

    def training(rate: float) -> list[Tensor]:
        seed()
        model, weights = nn.Linear(6, 3), []
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for _ in range(4):
            optimizer.zero_grad()
            x, y = data().tensors
            functional.cross_entropy(functional.dropout(model(x), 0.3), y).backward()
            optimizer.step()
            weights.append(model.weight.detach().clone())
        return weights

    with tracing(tmp_path / "a", states_every=1):
        reference = training(0.1)
    states = tmp_path / "a.states"
    assert sorted(path.name for path in states.iterdir()) == [*(f"after_{n:08d}.pt" for n in range(1, 5)), "first.pt"]
    with tracing(tmp_path / "b", inject=states, states_every=2):
        found = training(0.2)
    assert all(torch.equal(one, other) for one, other in zip(reference, found, strict=True))
    steps = [read_trace(tmp_path / name).steps for name in "ab"]
    # What the trace has of a step is what the run itself did, before the state was put in.
    assert all(one.roots["gradients"] == other.roots["gradients"] for one, other in zip(*steps, strict=True))
    assert all(one.roots["parameters"] != other.roots["parameters"] for one, other in zip(*steps, strict=True))
    assert all(one.rng == other.rng for one, other in zip(*steps, strict=True))
    kept = torch.load(tmp_path / "b.states" / "after_00000002.pt", weights_only=True)
    assert kept["parameters"]["weight"].shape == (3, 6)
    assert not torch.equal(kept["parameters"]["weight"], reference[1])


def test_a_state_of_another_model_is_an_error_of_the_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def training(width: int) -> None:
        model = nn.Linear(width, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(1, width)).sum().backward()
            optimizer.step()

    with tracing(tmp_path / "a", states_every=1):
        training(2)
    with tracing(tmp_path / "b", inject=tmp_path / "a.states"):
        training(3)
    problem = read_trace(tmp_path / "b").problem
    assert problem == "the tracer failed: ValueError: weight: shape (1, 2) in the other state, here (1, 3)"
    assert "the tracer stopped" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch calls it itself
def test_a_compiled_step_is_refused(tmp_path: Path) -> None:
    with tracing(tmp_path / "run.trace"):
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        torch.compile(optimizer.step, backend="eager")()
    problem = read_trace(tmp_path / "run.trace").problem
    assert problem == "the tracer failed: a compiled Optimizer.step cannot be recorded; compile the model alone"


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.arange(12, dtype=torch.bfloat16)[::2],
        torch.tensor(True),
        torch.zeros(0, 3),
        torch.randn(2, dtype=torch.complex64).conj(),
        torch.ones(2, 2).expand(3, 2, 2),
    ],
    ids=lambda value: f"{value.dtype}{tuple(value.shape)}",
)
def test_a_tensor_has_the_digest_that_it_has_elsewhere(value: Tensor) -> None:
    assert tensor_digest(value).hex() == digest_of_core(value)
    assert tensor_digest(value) == tensor_digest(nn.Parameter(value, requires_grad=False))


def test_digests_see_type_shape_order_and_sign() -> None:
    ones = torch.ones(4)
    others = [
        ones.double(),
        ones.reshape(2, 2),
        torch.zeros(4),
        torch.tensor([1.0, 1, 1, 2]),
        torch.tensor([1.0, 1, 2, 1]),
    ]
    zeros = [torch.tensor([0.0]), torch.tensor([-0.0])]
    digests = [tensor_digest(one) for one in (ones, *others, *zeros)]
    assert len(set(digests)) == len(digests)


def test_wrong_use_is_one_error(tmp_path: Path) -> None:
    with (
        pytest.raises(BemError, match="expected one of light, full, deep; did you mean 'deep'"),
        tracing(tmp_path / "a", level="dep"),
    ):
        pass
    with pytest.raises(BemError, match="folder does not exist"), tracing(tmp_path / "none" / "a"):
        pass
    with (
        tracing(tmp_path / "a"),
        pytest.raises(BemError, match="recorded in this process already"),
        tracing(tmp_path / "b"),
    ):
        pass


def test_an_exception_ends_the_trace(tmp_path: Path) -> None:
    with suppress(ValueError), tracing(tmp_path / "run.trace"):
        model = nn.Linear(1, 1)
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        raise ValueError("too\nlate")
    trace = read_trace(tmp_path / "run.trace")
    assert len(trace.steps) == 1
    assert trace.problem == "the run ended with ValueError: too late"


def test_what_changes_about_tensors_that_were_looked_at_is_seen() -> None:
    slots, state = Slots(), torch.arange(4.0).reshape(2, 2)
    later = {
        "as before": state,
        "another shape": state.view(4),
        "another type": state.view(torch.int32),
        "another order": state.t(),
        "another place": state.clone() + 1,
        "as before, again": state,
        "sparse": state.to_sparse(),
        "a part": state[:1],
        "nothing": state[:0],
    }
    for case, value in later.items():
        assert slots.digests([state, value]) == tensor_digest(state) + tensor_digest(value), case
    state.add_(1)
    assert slots.digests([state, later["nothing"]]) == tensor_digest(state) + tensor_digest(later["nothing"])
