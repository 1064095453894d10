"""Lay out sources of an installed package as a project with the size and the imports of the real one.

The real one has 281 files, about 150,000 lines and 5.85 MB; 33 of its files mention an old name and 30 change. It is
not part of this repository, so its layout, the forms of its imports and how often each occurs are copied instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

NUM_FILES = 281
PACKAGES = (
    "src/bem2",
    "src/bem2/router",
    "src/bem2/safety",
    "src/bem2/multimodal",
    "src/bem2/perftrack",
    "src/bem2/evaluation",
    "src/bem2/online",
    "src/bem_core",
    "src/bem_core/config",
    "src/bem_core/training",
    "src/bem_core/evaluation",
    "src/bem_core/utils",
    "src/bem_legacy",
    "src/bem_legacy/modules",
    "src/bem_legacy/kernels",
    "src/bem_legacy/training",
)
FOLDERS = (
    "scripts",
    "scripts/demos",
    "scripts/validation",
    "scripts/utilities",
    "tests",
    "tests/legacy",
    "experiments",
    "deployment",
)

# The new modules and what is imported from them. They exist, as they do once a package has been moved.
MODULES = {
    "src/bem_legacy/controller.py": "HierarchicalController RoutingLevel analyze_routing_behavior",
    "src/bem_legacy/retrieval_bem.py": "FullRetrievalAwareBEM RetrievalBEMConfig create_retrieval_aware_bem",
    "src/bem2/router/trainer.py": "RouterTrainer RouterEvaluator",
    "src/bem2/evaluation/framework.py": "EvaluationFramework GateValidator MetricCollector",
    "src/bem_core/config/loading.py": "ConfigLoader load_experiment_config load_training_config",
}
OLD = {
    "bem.controller": "src/bem_legacy/controller.py",
    "bem.retrieval_bem": "src/bem_legacy/retrieval_bem.py",
    "bem2.router.unified_trainer": "src/bem2/router/trainer.py",
    "bem2.evaluation.evaluation_framework": "src/bem2/evaluation/framework.py",
    "bem_core.config.config_loader": "src/bem_core/config/loading.py",
}

# Forms in about the proportions of the real project; {m} is the module, {p}.{c} the same split at the last dot,
# {n} all names, {a} the first. Those with an indent are placed in a function of their own.
FORMS = (
    (42, "from {m} import {n}\n"),
    (18, "from {m} import (\n    {a},  # used below\n    {rest},\n)\n"),
    (14, "try:\n    from {m} import {n}\nexcept ImportError:\n    {a} = None\n"),
    (4, "try:\n    from {m} import {a} as Legacy{a}\nexcept ImportError:\n    Legacy{a} = None\n"),
    (10, "    try:\n        from {m} import {a}\n        return {a}\n    except Exception:\n        return None\n"),
    (5, "    from {m} import {a}\n    return {a}\n"),
    (1, "    try:\n        import {m} as old\n        return old\n    except Exception:\n        return None\n"),
    (3, "    import {m}\n    return {m}.{a}\n"),
    (3, "from {p} import {c}\n"),
    (5, '    from unittest.mock import patch\n    with patch("{m}.{a}") as made:\n        return made\n'),
)
RELATIVE = (
    ("src/bem2/router", "from .unified_trainer import RouterTrainer\n"),
    ("src/bem2/evaluation", "from .evaluation_framework import EvaluationFramework, MetricCollector\n"),
    ("src/bem2/safety", "from ..evaluation.evaluation_framework import GateValidator\n"),
    ("src/bem2/perftrack", "from ..router.unified_trainer import RouterTrainer, RouterEvaluator\n"),
    (
        "src/bem_core/training",
        "    from ..config.config_loader import load_training_config\n    return load_training_config\n",
    ),
)
LOOK_ALIKE = (
    "# bem.controller used to be here; see the history of bem2.router.unified_trainer.\n",
    "QUERY = \"select * from bem.controller_runs where image = 'bem:latest'\"\n",
    'NOTE = """Replaces bem2.evaluation.evaluation_framework, once published as bem2-multimodal."""\n',
)
NUM_ABSOLUTE_FILES = 25


def build(tree: Path, sources: list[Path]) -> None:
    """Write the project below ``tree`` from ``sources``, in the order in which they are given."""
    paths = _paths()
    texts = dict(zip(paths, _fillers(sources, len(paths)), strict=True))
    for path, names in MODULES.items():
        texts[path] = _append(texts[path], "".join(f"class {name}:\n    pass\n\n\n" for name in names.split()))
    _plant(texts)
    for path in PACKAGES:
        texts[f"{path}/__init__.py"] = f'"""Package {path}."""\n'
    for path, text in texts.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text, encoding="utf-8", newline="")


def _paths() -> list[str]:
    """Return the new modules and then numbered files, spread evenly over all folders."""
    folders = cycle([*PACKAGES, *FOLDERS])
    count = NUM_FILES - len(PACKAGES) - len(MODULES)
    return [*MODULES, *(f"{folder}/part_{number:03}.py" for number, folder in enumerate(islice(folders, count)))]


def _fillers(sources: list[Path], count: int) -> list[str]:
    """Return texts of middle size that are like the real ones in line length and in syntax nodes a byte.

    The second decides what parsing costs: LibCST takes 1.1 microseconds a byte on the real project, and 2.5 on a
    mathematical library, whose dense formulas would make it look slower than it is.
    """
    texts = (path.read_bytes().decode("utf-8") for path in sources if 8_000 <= path.stat().st_size <= 50_500)
    return list(islice((text for text in texts if _is_alike(text)), count))


def _is_alike(text: str) -> bool:
    if not 36 <= len(text) / text.count("\n") <= 42:
        return False
    return 0.07 <= sum(1 for _ in ast.walk(ast.parse(text))) / len(text) <= 0.13


def _plant(texts: dict[str, str]) -> None:
    """Put the imports into 30 files, and mentions that are no imports into three more."""
    free = [path for path in texts if path not in MODULES]
    for folder, statement in RELATIVE:
        path = next(path for path in free if path.startswith(f"{folder}/part"))
        free.remove(path)
        texts[path] = _insert(texts[path], statement, 0)
    outside = [path for path in free if not path.startswith("src/")]
    for number, (path, statement) in enumerate(zip(cycle(outside[:NUM_ABSOLUTE_FILES]), _statements(), strict=False)):
        texts[path] = _insert(texts[path], statement, number)
    for path, text in zip(outside[NUM_ABSOLUTE_FILES:], LOOK_ALIKE, strict=False):
        texts[path] = _append(texts[path], text)


def _statements() -> Iterator[str]:
    modules = cycle(OLD.items())
    for count, form in FORMS:
        for module, path in islice(modules, count):
            names = MODULES[path].split()
            parent, _, child = module.rpartition(".")
            rest = ",\n    ".join(names[1:])
            yield form.format(m=module, p=parent, c=child, n=", ".join(names), a=names[0], rest=rest)


def _insert(text: str, statement: str, number: int) -> str:
    """Put an import after the docstring, or into a function at the end of the file."""
    if statement.startswith(" "):
        return _append(text, f"def planted_{number}():\n{statement}")
    line = _first_import_line(text)
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:line], statement, *lines[line:]])


def _first_import_line(text: str) -> int:
    """Return after how many lines a module may import something."""
    line = 0
    for node in ast.parse(text).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not (docstring or future):
            break
        line = node.end_lineno or 0
    return line


def _append(text: str, code: str) -> str:
    return text + ("" if text.endswith("\n") else "\n") + "\n\n" + code.rstrip("\n") + "\n"
