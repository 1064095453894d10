"""What modules, parameters and optimizers are called in a trace: paths in outermost modules."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from .digests import tensor_digest
from .numbering import ByIdentity
from .stream import Record

# What wraps a module and forwards to it: class and the name of the module inside.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
}
# Names that nothing but a wrapper gives to what is inside.
_INSIDE = ("_fsdp_wrapped_module", "_orig_mod")
NOT_COUNTED = -1


def path_of(path: str) -> str:
    """Return the path of a module or tensor without the wrappers on the way, such as a part that is compiled."""
    if not any(inside in path for inside in _INSIDE):
        return path
    return ".".join(part for part in path.split(".") if part not in _INSIDE)


def kind_of(value: Any) -> str:
    """Return the full name of the class of an object."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def source_of(value: Any) -> str | None:
    """Return the file that defines the class of an object, without importing anything."""
    return getattr(sys.modules.get(type(value).__module__), "__file__", None)


def ids_of(optimizer: Optimizer) -> tuple[Any, ...]:
    """Return what changes when an optimizer gets other parameters."""
    groups = [tuple(map(id, group["params"])) for group in optimizer.param_groups]
    return groups[0] if len(groups) == 1 else (*groups,)


@dataclass(slots=True)
class Root:
    """An outermost module, unwrapped."""

    module: nn.Module
    wrapped: list[str]
    prefix: str = ""


class Names:
    """Numbers modules and optimizers in the order in which they are first used; keeps none of them alive."""

    def __init__(self) -> None:
        self.entries: ByIdentity[int] = ByIdentity()
        self.optimizers: ByIdentity[int] = ByIdentity()
        self.changed = False
        self.number = -1
        self.parameter_numbers: dict[int, int] = {}
        self.buffers: list[tuple[weakref.ref[nn.Module], str]] = []
        self.buffer_names: list[str] = []
        self.frozen: list[weakref.ref[Tensor]] = []
        self.modules: list[weakref.ref[nn.Module]] = []
        self.parameter_names: list[str] = []
        self._first_digests: dict[str, str | None] = {}
        self._entry_refs: list[weakref.ref[nn.Module]] = []
        self._optimizer_refs: list[weakref.ref[Optimizer]] = []
        self._entry_records: list[Record] = []
        self._optimizer_records: list[Record] = []
        self._ids: dict[int, tuple[Any, ...]] = {}
        self._resumed: dict[int, bool] = {}

    def entry(self, module: nn.Module) -> int:
        """Return the number of a module that the program calls; `NOT_COUNTED` if it has no tensors."""
        number = self.entries.get(module)
        if number is None:
            tensors = any(True for _ in module.parameters()) or any(True for _ in module.buffers())
            number = self.entries.set(module, len(self._entry_refs) if tensors else NOT_COUNTED)
            if tensors:
                self._entry_refs.append(weakref.ref(module))
                self.changed = True
        return number

    def optimizer(self, optimizer: Optimizer) -> int:
        """Return the number of an optimizer."""
        number = self.optimizers.get(optimizer)
        if number is None:
            number = self.optimizers.set(optimizer, len(self._optimizer_refs))
            self._optimizer_refs.append(weakref.ref(optimizer))
            self._optimizer_records.append(_optimizer_record(optimizer, []))
            self.changed = True
        return number

    def notice_changes(self, number: int, optimizer: Optimizer) -> None:
        """Notice that an optimizer has other parameters than before."""
        ids = ids_of(optimizer)
        if self._ids.get(number) != ids:
            self._ids[number] = ids
            self.changed = True

    def live_optimizers(self) -> Iterator[tuple[int, Optimizer]]:
        """Yield the optimizers that still exist, with their numbers."""
        for number, ref in enumerate(self._optimizer_refs):
            optimizer = ref()
            if optimizer is not None:
                yield number, optimizer

    def record(self) -> Record:
        """Return the record of all names as they are now, with the first digest of each tensor."""
        self.changed = False
        self.number += 1
        roots, places = self._find_roots()
        names = _tensor_names(roots)
        parameters, optimizers = self._optimizer_tables(names)
        self.modules = [
            weakref.ref(module)
            for root in roots
            for module in root.module.modules()
            if type(module).__name__ not in _WRAPPERS
        ]
        self.parameter_names = [record["name"] for record in parameters]
        self._first_digests.update({record["name"]: record["digest"] for record in parameters})
        return {
            "kind": "names",
            "number": self.number,
            "roots": [_root_record(root) for root in roots],
            "parameters": parameters,
            "buffers": self._buffer_table(roots),
            "frozen": self._frozen_table(roots, names),
            "optimizers": optimizers,
            "entries": self._entries(roots, places),
        }

    def _find_roots(self) -> tuple[list[Root], dict[int, tuple[int, str]]]:
        """Return the outermost modules above those that were called, and where each module is in them."""
        parents = _parents()
        roots: list[Root] = []
        places: dict[int, tuple[int, str]] = {}
        for ref in self._entry_refs:
            module = ref()
            if module is None or id(module) in places:
                continue
            roots.append(_unwrapped(_outermost(module, parents)))
            for path, below in roots[-1].module.named_modules(remove_duplicate=False):
                places.setdefault(id(below), (len(roots) - 1, path_of(path)))
            places.setdefault(id(module), (len(roots) - 1, ""))
        _set_prefixes(roots)
        return roots, places

    def _optimizer_tables(self, names: dict[int, list[str]]) -> tuple[list[Record], list[Record]]:
        table: list[Record] = []
        self.parameter_numbers = {}
        for number, ref in enumerate(self._optimizer_refs):
            optimizer = ref()
            if optimizer is None:  # It takes no more steps.
                self._optimizer_records[number] = {**self._optimizer_records[number], "groups": []}
                continue
            groups = [
                [self._parameter(table, names, one, (number, at, index)) for index, one in enumerate(group["params"])]
                for at, group in enumerate(optimizer.param_groups)
            ]
            resumed = self._resumed.setdefault(number, _has_history(optimizer))
            self._optimizer_records[number] = {**_optimizer_record(optimizer, groups), "resumed": resumed}
        return table, list(self._optimizer_records)

    def _parameter(
        self, table: list[Record], names: dict[int, list[str]], parameter: Tensor, place: tuple[int, int, int]
    ) -> int:
        """Return the number of a parameter in the table, adding it if it is not there."""
        number = self.parameter_numbers.get(id(parameter))
        if number is None:
            number = self.parameter_numbers[id(parameter)] = len(table)
            optimizer, group, index = place
            found = names.get(id(parameter)) or [f"optimizer{optimizer}.group{group}.{index}"]
            table.append(_tensor_record(found[0], parameter, found[1:], self._first_digests.get(found[0])))
        return number

    def _buffer_table(self, roots: list[Root]) -> list[Record]:
        table, seen = [], set()
        self.buffers, self.buffer_names = [], []
        for root in roots:
            for path, module in root.module.named_modules():
                for key, buffer in module._buffers.items():
                    if buffer is None or id(buffer) in seen:
                        continue
                    seen.add(id(buffer))
                    name = root.prefix + path_of(f"{path}.{key}" if path else key)
                    self.buffers.append((weakref.ref(module), key))
                    self.buffer_names.append(name)
                    table.append(_tensor_record(name, buffer, []))
        return table

    def _frozen_table(self, roots: list[Root], names: dict[int, list[str]]) -> list[Record]:
        table = []
        self.frozen = []
        for root in roots:
            for parameter in root.module.parameters():
                if id(parameter) not in self.parameter_numbers:
                    self.frozen.append(weakref.ref(parameter))
                    table.append(_tensor_record(names[id(parameter)][0], parameter, names[id(parameter)][1:]))
        return table

    def _entries(self, roots: list[Root], places: dict[int, tuple[int, str]]) -> list[Record]:
        for number, ref in enumerate(self._entry_refs):
            module = ref()
            if module is not None:
                root, path = places[id(module)]
                record = {"path": path, "root": root, "class": kind_of(module)}
                self._entry_records[number : number + 1] = [record]
        return list(self._entry_records)


def _optimizer_record(optimizer: Optimizer, groups: list[list[int]]) -> Record:
    return {"class": kind_of(optimizer), "file": source_of(optimizer), "groups": groups}


def _tensor_record(name: str, tensor: Tensor, aliases: list[str], digest: str | None = None) -> Record:
    if is_lazy(tensor):
        return {"name": name, "shape": None, "dtype": str(tensor.dtype), "digest": None, "aliases": aliases}
    found = digest or tensor_digest(tensor).hex()
    return {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype),
        "digest": found,
        "aliases": aliases,
    }


def _has_history(optimizer: Optimizer) -> bool:
    """Tell whether an optimizer has a state that is not of its making: some begin with one, and a count of 0."""
    states = [state for state in optimizer.state.values() if isinstance(state, Mapping) and state]
    return any(not _is_zero(state.get("step")) for state in states)


def _is_zero(value: Any) -> bool:
    single = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    return single and float(value) == 0


def _root_record(root: Root) -> Record:
    modules = list(root.module.modules())
    compiled = "OptimizedModule" in [*root.wrapped, *(type(module).__name__ for module in modules)]
    compiled |= any(getattr(module, "_compiled_call_impl", None) is not None for module in modules)
    names = {"class": kind_of(root.module), "file": source_of(root.module)}
    return {**names, "compiled": compiled, "wrapped": root.wrapped}


def _parents() -> dict[int, list[nn.Module]]:
    """Return for each module that exists those that contain it."""
    parents: dict[int, list[nn.Module]] = {}
    for value in gc.get_objects():
        if issubclass(type(value), nn.Module):
            # One that is being made, or was made without its constructor, has no modules yet.
            for below in value.__dict__.get("_modules", {}).values():
                if below is not None:
                    parents.setdefault(id(below), []).append(value)
    return parents


def _outermost(module: nn.Module, parents: dict[int, list[nn.Module]]) -> nn.Module:
    """Return the module that contains all others on the way up; of several the one with most modules."""
    seen = {id(module)}
    top, waiting = [], [module]
    while waiting:
        one = waiting.pop()
        above = [parent for parent in parents.get(id(one), []) if id(parent) not in seen]
        seen.update(id(parent) for parent in above)
        waiting += above
        if not parents.get(id(one)):
            top.append(one)
    return max(top, key=lambda one: (sum(1 for _ in one.modules()), kind_of(one)), default=module)


def _unwrapped(module: nn.Module) -> Root:
    wrapped = []
    while type(module).__name__ in _WRAPPERS:
        inside = getattr(module, _WRAPPERS[type(module).__name__], None)
        if not isinstance(inside, nn.Module):
            break
        wrapped.append(type(module).__name__)
        module = inside
    return Root(module, wrapped)


def _set_prefixes(roots: list[Root]) -> None:
    """Put the class before the names of roots that share a name with another."""
    names = [{name for name, _ in _named_tensors(root.module)} for root in roots]
    counts = Counter(name for some in names for name in some)
    uses: Counter[str] = Counter()
    for root, some in zip(roots, names, strict=True):
        if any(counts[name] > 1 for name in some):
            kind = type(root.module).__qualname__
            uses[kind] += 1
            root.prefix = f"{kind}." if uses[kind] == 1 else f"{kind}#{uses[kind]}."


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _tensor_names(roots: list[Root]) -> dict[int, list[str]]:
    """Return all names of each parameter, the first one first."""
    names: dict[int, list[str]] = {}
    for root in roots:
        for name, parameter in root.module.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(root.prefix + path_of(name))
    return names
