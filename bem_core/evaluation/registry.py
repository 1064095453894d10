"""The one registry of metrics: what a metric is, and which name stands for which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from bem_core.errors import nearest
from bem_core.evaluation.errors import EvaluationError

Factory = Callable[[], "Metric"]
F = TypeVar("F", bound=Factory)

_FACTORIES: dict[str, Factory] = {}
_ALIASES: dict[str, str] = {}


class Metric(ABC):
    """Something measured over a test set, one batch after the other.

    What it keeps must not grow with the outputs of the model, and must be the same in whatever order batches come, so
    that shards merge to what one process finds.

    Attributes:
        needs: Names that `update` reads, from the outputs of the model or the batch.
        higher_is_better: The direction of an improvement.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    higher_is_better: ClassVar[bool] = True

    @abstractmethod
    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Take one batch.

        Args:
            values: The outputs of the model, and what is in the batch under other names.
            num_samples: Samples of the batch.
        """

    @abstractmethod
    def state(self) -> Any:
        """Return what `merge` of another process takes; it is pickled."""

    @abstractmethod
    def merge(self, state: Any) -> None:
        """Add what another process found."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the values by name; none where no sample was seen."""


def register(name: str, *aliases: str) -> Callable[[F], F]:
    """Register a class of metrics, or a function that makes one, under a name and under other spellings of it.

    Raises:
        ValueError: A name is taken.
    """

    def add(factory: F) -> F:
        for one in (name, *aliases):
            if one in _FACTORIES or one in _ALIASES:
                raise ValueError(f"there is already a metric {one!r}")
        _FACTORIES[name] = factory
        _ALIASES.update(dict.fromkeys(aliases, name))
        return factory

    return add


def canonical(name: str) -> str:
    """Return the name under which results have a metric: without ``eval_``, aliases and their case resolved."""
    for spelling in (name, name.removeprefix("eval_")):
        for one in (spelling, spelling.lower()):
            if one in _FACTORIES or one in _ALIASES:
                return _ALIASES.get(one, one)
    return name.removeprefix("eval_")


def is_registered(name: str) -> bool:
    """Tell whether `create` knows a name."""
    return canonical(name) in _FACTORIES


def names() -> list[str]:
    """Return the names of all metrics, without aliases."""
    return sorted(_FACTORIES)


def create(name: str) -> Metric:
    """Make a metric.

    Raises:
        EvaluationError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
    """
    factory = _FACTORIES.get(canonical(name))
    if factory is None:
        raise EvaluationError(f"there is no metric {name!r}{suggest(name)}")
    return factory()


def suggest(name: str) -> str:
    """Return the end of a message about an unknown metric."""
    return nearest(name, [*_FACTORIES, *_ALIASES]) or f"; there are {', '.join(names())}"


def higher_is_better(name: str) -> bool | None:
    """Return the direction of a registered metric; None for others."""
    factory = _FACTORIES.get(canonical(name))
    return getattr(factory, "higher_is_better", None)
