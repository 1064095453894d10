"""Small loops as people write them: where what they do differently is put, and what is no difference."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional
from torch.utils.data import DataLoader

from migrate.verify.cases import plain_case
from migrate.verify.compare import compare
from migrate.verify.trace.reader import Trace, read_trace
from migrate.verify.trace.session import tracing
from migrate.verify.verdict import Outcome, Verdict

Compare = Callable[[Callable[..., None], dict[str, Any], dict[str, Any]], Verdict]


@pytest.fixture
def compared(tmp_path: Path) -> Compare:
    """Record a loop with two sets of arguments and compare them."""

    def record(number: int, loop: Callable[..., None], arguments: dict[str, Any]) -> Trace:
        torch.manual_seed(3)
        with tracing(tmp_path / f"{number}.trace") as session:
            loop(**arguments)
        return read_trace(session.path)

    def run(loop: Callable[..., None], one: dict[str, Any], other: dict[str, Any]) -> Verdict:
        return compare(record(1, loop, one), record(2, loop, other), plain_case())

    return run


def found(verdict: Verdict) -> tuple[int, str, str]:
    """Return where two runs first differ."""
    assert verdict.outcome is Outcome.DIFFERENT, verdict.reasons
    assert verdict.first is not None
    return verdict.first.step, verdict.first.phase, verdict.first.channel


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int = 6) -> Iterator[int]:
    """Train step by step; the number of steps done is yielded after each."""
    for step in range(1, number + 1):
        x, y = torch.randn(4, 5), torch.randint(0, 3, (4,))
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        yield step


class Average(nn.Module):
    """Moving average of another module's weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    def update(self, model: nn.Module, decay: float) -> None:
        for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(its.detach(), 1 - decay)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]


def averaging(worse_from: int = 99, every: int = 3) -> None:
    model, optimizer = make()
    average = Average(model).eval()
    seen = torch.ones(2, 5)
    for step in steps(model, optimizer):
        average.update(model, 0.5 if step >= worse_from else 0.9)
        if step % every == 0:
            with torch.no_grad():
                average(seen)


@pytest.mark.parametrize(
    ("worse_from", "step"), [pytest.param(2, 3, id="between steps"), pytest.param(5, 6, id="after the last step")]
)
def test_a_model_that_is_only_evaluated_takes_no_part_in_steps(worse_from: int, step: int, compared: Compare) -> None:
    assert found(compared(averaging, {}, {"worse_from": worse_from})) == (step, "evaluation", "outputs")


def normalised(other: bool = False) -> None:
    """The statistics of averaged weights are gone through anew, in training mode, when all is over."""
    model, optimizer = make()
    average = torch.optim.swa_utils.AveragedModel(nn.Sequential(nn.BatchNorm1d(5), model))
    for _ in steps(model, optimizer, 3):
        pass
    data = [torch.randn(6, 5) for _ in range(3)]
    torch.optim.swa_utils.update_bn(data[: 2 if other else 3], average)
    average.eval()
    with torch.no_grad():
        average(data[0])


def test_what_is_called_after_the_last_step_is_an_evaluation(compared: Compare) -> None:
    assert compared(normalised, {}, {}).outcome is Outcome.IDENTICAL
    assert found(compared(normalised, {}, {"other": True}))[:2] == (3, "evaluation")


def acting(other_from: int = 99) -> None:
    """Every third step, a part of the model that is trained says what to aim at."""
    model, optimizer = make()
    for step in range(1, 7):
        x, goal = torch.randn(4, 5), torch.zeros(4, 3)
        if step % 3 == 0:
            with torch.no_grad():
                goal = goal + model[0](x + (step >= other_from))[:, :3]  # type: ignore[index]
        optimizer.zero_grad()
        functional.mse_loss(model(x), goal).backward()
        optimizer.step()


def test_a_part_of_the_model_that_is_trained_is_part_of_the_step(compared: Compare) -> None:
    assert found(compared(acting, {}, {"other_from": 4})) == (6, "data", "inputs")


def teaching(other_from: int = 99) -> None:
    """Each step needs a teacher, which is in evaluation mode and has no gradients, too."""
    model, optimizer = make()
    teacher = nn.Linear(5, 3).eval().requires_grad_(False)
    for step in range(1, 6):
        x = torch.randn(4, 5)
        with torch.no_grad():
            goal = teacher(x) + (step >= other_from)
            seen = teacher(x + (step >= other_from))
        optimizer.zero_grad()
        functional.mse_loss(model(x), goal + seen).backward()
        optimizer.step()


def test_a_teacher_is_part_of_the_step(compared: Compare) -> None:
    assert found(compared(teaching, {}, {"other_from": 3})) == (3, "data", "inputs")


def evaluating(left: bool = False, grad: bool = False, shift: float = 0.0, from_loader: bool = False) -> None:
    model, optimizer = make()
    loader = DataLoader([(torch.full((5,), 0.1 * n), n % 3) for n in range(12)], batch_size=2)
    drawn = ((torch.randn(4, 5), torch.randint(0, 3, (4,))) for _ in range(6))
    for step, (x, y) in enumerate(loader if from_loader else drawn, 1):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step % 2 == 0:
            model.eval()
            with torch.set_grad_enabled(grad):
                model(torch.ones(2, 5) + shift)
            if not left:
                model.train()


@pytest.mark.parametrize("from_loader", [False, True])
def test_a_model_left_in_evaluation_mode_differs_in_its_mode(from_loader: bool, compared: Compare) -> None:
    ways = {"from_loader": from_loader}
    assert found(compared(evaluating, ways, {**ways, "left": True})) == (3, "mode", "mode")


def test_evaluation_may_do_without_gradients(compared: Compare) -> None:
    assert compared(evaluating, {"grad": True}, {"grad": False}).outcome is Outcome.IDENTICAL


def test_evaluations_with_gradients_are_compared(compared: Compare) -> None:
    assert found(compared(evaluating, {"grad": True}, {"grad": True, "shift": 1.0})) == (2, "evaluation", "outputs")


def two_parts(quiet_at: int = 99, scale_at: int = 99) -> None:
    """Two models that the program calls one after the other."""
    first, second = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6)), nn.Linear(6, 3)
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
    for step in range(1, 6):
        x, y = torch.randn(4, 5), torch.randint(0, 3, (4,))
        first.train(step != quiet_at)
        handle = first.register_forward_hook(lambda *a: a[-1] * 1.5) if step >= scale_at else None
        hidden = first(x)
        first.train()
        if handle:
            handle.remove()
        optimizer.zero_grad()
        functional.cross_entropy(second(hidden), y).backward()
        optimizer.step()


def test_what_a_model_gets_from_another_is_no_data(compared: Compare) -> None:
    assert found(compared(two_parts, {}, {"scale_at": 3})) == (3, "forward", "outputs")


def test_a_model_in_evaluation_mode_within_a_step_is_a_mode(compared: Compare) -> None:
    assert found(compared(two_parts, {}, {"quiet_at": 3})) == (3, "mode", "mode")


class Sharp(torch.optim.SGD):
    """Steps back from where the gradient leads, and takes the gradient there."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        parameters = self.param_groups[0]["params"]
        before = [parameter.detach().clone() for parameter in parameters]
        for parameter in parameters:
            parameter.data.add_(parameter.grad, alpha=0.05)
        closure()
        for parameter, old in zip(parameters, before, strict=True):
            parameter.data.copy_(old)
        super().step()


def two_passes(smoothing_at: int = 99) -> None:
    model, _ = make()
    optimizer = Sharp(model.parameters(), lr=0.1)
    for step in range(1, 5):
        x, y = torch.randn(4, 5), torch.randint(0, 3, (4,))

        def closure(x: Tensor = x, y: Tensor = y, smoothing: float = 0.1 * (step >= smoothing_at)) -> None:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y, label_smoothing=smoothing).backward()

        closure()
        optimizer.step(closure)


def test_what_a_model_gives_after_another_loss_follows_from_it(compared: Compare) -> None:
    verdict = compared(two_passes, {}, {"smoothing_at": 3})
    assert found(verdict)[1] == "loss", verdict.divergences


def searching(history_at: int = 99) -> None:
    model, _ = make()
    model.eval()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for step in range(1, 5):
        if step == history_at:
            optimizer.param_groups[0]["history_size"] = 2
        optimizer.step(closure)


def test_hyper_parameters_come_before_what_a_closure_sees(compared: Compare) -> None:
    assert found(compared(searching, {}, {"history_at": 2})) == (2, "hyper", "hyper")


def padded(width_at: int = 99) -> None:
    model = nn.Sequential(nn.Dropout(0.2), nn.Linear(1, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 6):
        x = torch.ones(4, 7 if step >= width_at else 5, 1)
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()


def test_inputs_of_another_shape_are_data_though_dropout_draws_more(compared: Compare) -> None:
    assert found(compared(padded, {}, {"width_at": 3})) == (3, "data", "inputs")


def accumulating(window: int = 2) -> None:
    model, optimizer = make()
    data = torch.arange(120.0).reshape(24, 5) / 60
    for step in range(3):
        optimizer.zero_grad()
        for part in data[8 * step :].split(2)[:window]:
            model(part).square().mean().backward()
        optimizer.step()


def test_more_passes_are_no_matter_of_random_numbers(compared: Compare) -> None:
    assert found(compared(accumulating, {}, {"window": 3}))[:2] == (1, "backward")


def with_workers(num_workers: int = 0, seed_at: int = 99, drop_last: bool = False) -> None:
    model, optimizer = make()
    generator = torch.Generator().manual_seed(1)
    data = [(torch.full((5,), 0.1 * n), n % 3) for n in range(18)]
    loader = DataLoader(
        data, batch_size=4, shuffle=True, generator=generator, num_workers=num_workers, drop_last=drop_last
    )
    step = 0
    for _ in range(2):
        for x, y in loader:
            step += 1
            if step == seed_at:
                generator.manual_seed(5)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            model(torch.ones(2, 5))
        model.train()


def test_workers_may_ask_for_samples_earlier(compared: Compare) -> None:
    assert compared(with_workers, {}, {"num_workers": 2}).outcome is Outcome.IDENTICAL


def test_a_generator_of_a_loader_that_is_seeded_anew_differs_at_once(compared: Compare) -> None:
    assert found(compared(with_workers, {}, {"seed_at": 3})) == (3, "rng", "rng")


def test_a_shorter_epoch_is_why_its_evaluation_comes_earlier(compared: Compare) -> None:
    assert found(compared(with_workers, {}, {"drop_last": True}))[:2] == (4, "data")


def without_backward(way: str = "grad", rate: float = 0.1) -> None:
    """Gradients from `autograd.grad`, or from transforms of functions."""
    model, _ = make()
    model[2] = nn.Identity()  # type: ignore[operator]
    named = dict(model.named_parameters())
    optimizer = torch.optim.SGD(named.values(), lr=rate)

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, parameters, (x,)), y)

    for _ in range(4):
        x, y = torch.randn(4, 5), torch.randint(0, 3, (4,))
        if way == "grad":
            gradients = torch.autograd.grad(functional.cross_entropy(model(x), y), list(named.values()))
        else:
            plain = {name: parameter.detach() for name, parameter in named.items()}
            each = (x[:, None], y[:, None]) if way == "vmap" else (x, y)
            function = vmap(grad_and_value(loss), (None, 0, 0)) if way == "vmap" else grad_and_value(loss)
            gradients = [g.mean(0) if way == "vmap" else g for g in function(plain, *each)[0].values()]
        for parameter, gradient in zip(named.values(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()


@pytest.mark.parametrize("way", ["grad", "transform", "vmap"])
def test_gradients_need_not_come_from_backward(way: str, compared: Compare) -> None:
    same = compared(without_backward, {"way": way}, {"way": way})
    assert same.outcome is Outcome.IDENTICAL, same.reasons
    assert "candidate: gradients without `backward`, so losses are not compared" in same.notes
    assert found(compared(without_backward, {"way": way}, {"way": way, "rate": 0.2})) == (1, "hyper", "hyper")


def no_module(rate: float = 0.1, step_by_hand: bool = False) -> None:
    weight = nn.Parameter(torch.randn(5, 3))
    optimizer = torch.optim.SGD([weight], lr=rate)
    for _ in range(4):
        weight.grad = None
        functional.cross_entropy(torch.randn(4, 5) @ weight, torch.randint(0, 3, (4,))).backward()
        if step_by_hand:
            weight.data.sub_(rate * weight.grad)
        else:
            optimizer.step()


def test_parameters_need_no_module(compared: Compare) -> None:
    assert compared(no_module, {}, {}).outcome is Outcome.IDENTICAL
    assert found(compared(no_module, {}, {"rate": 0.2})) == (1, "hyper", "hyper")


def test_steps_by_hand_are_refused_with_a_reason(compared: Compare) -> None:
    verdict = compared(no_module, {"step_by_hand": True}, {"step_by_hand": True})
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "never seen: step (only optimizers that are `torch.optim.Optimizer` count" in verdict.reasons[0]
