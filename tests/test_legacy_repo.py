"""The frozen legacy repository holds every spelling of a reference, and is as broken as the one it stands for."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).parent / "legacy_repo"
PYTHON_2 = "scripts/utilities/print_config.py"

# Form -> (glob of the files, what one of them must contain). Patterns are multi-line regular expressions.
TRY = r"^[ \t]*try:\n(?:(?![ \t]*except).*\n)*?[ \t]*"
FORMS: dict[str, tuple[str, str]] = {
    # absolute imports
    "abs-bem-module": ("scripts/**/*.py", r"^from bem\.\w+ import \w+"),
    "abs-parentheses": ("scripts/**/*.py", r"^from bem\.\w+ import \(\n"),
    "abs-parentheses-comment": ("scripts/**/*.py", r"^from bem\.\w+ import \(.*#"),
    "abs-trailing-comment": ("src/bem2/**/*.py", r"^from bem2\.\w+\.\w+ import \(\n(?:.*\n)*?.*,  # "),
    "abs-bem2-module": ("scripts/**/*.py", r"^from bem2\.\w+ import"),
    "abs-bem2-try-importerror": ("tests/*.py", TRY + r"from bem2\.[\s\S]*?^except ImportError"),
    "abs-bem-local-try-exception": ("scripts/**/*.py", r"^    try:\n        from bem\.[\s\S]*?^    except Exception"),
    "abs-src-core-module": ("scripts/**/*.py", r"^from src\.bem_core\.config\.config_loader import"),
    "abs-bem-try-importerror": ("tests/*.py", TRY + r"from bem\.[\s\S]*?^except ImportError"),
    "abs-bem-local": ("scripts/**/*.py", r"^def \w+.*\n    from bem\.\w+ import"),
    "abs-bem2-alias-try": ("scripts/**/*.py", TRY + r"from bem2\.[\w.]+ import \w+ as \w+"),
    "abs-core-module": ("scripts/**/*.py", r"^from bem_core\.config\.\w+ import"),
    "abs-src-bem2-module": ("tests/*.py", r"^from src\.bem2\.router\.unified_trainer import"),
    "abs-src-bem2-alias-try": ("tests/*.py", TRY + r"from src\.bem2\.[\w.]+ import \w+ as \w+"),
    "abs-bem2-local-try-exception": (
        "deployment/**/*.py",
        r"        try:\n            from bem2\.[\s\S]*?except Exception",
    ),
    "abs-bem-package": ("scripts/**/*.py", r"^from bem import \w+"),
    "abs-bem-package-parentheses": ("scripts/**/*.py", r"^from bem import \("),
    "abs-src-core-local-try": ("scripts/**/*.py", r"        from src\.bem_core[\s\S]*?except Exception"),
    "abs-legacy-module": ("scripts/**/*.py", r"^from bem_legacy\.\w+ import"),
    "abs-src-bem-as": ("scripts/*.py", r"^        import src\.bem as bem$"),
    "abs-bem-package-local-try": ("scripts/**/*.py", r"^        from bem import [\s\S]*?except Exception"),
    "abs-bem-local-try-importerror": (
        "src/bem2/perftrack/*.py",
        r"try:\n +from bem\.kernels[\s\S]*?except ImportError",
    ),
    "abs-bem2-local": ("src/bem2/*.py", r"^    from bem2\.router\.task_environment import"),
    "abs-two-handlers": ("tests/*.py", r"from bem2\.[\s\S]*?except ImportError[\s\S]*?except Exception"),
    # relative imports
    "rel-1": ("src/bem2/**/*.py", r"^from \.\w+ import"),
    "rel-2": ("src/bem_core/**/*.py", r"^from \.\.config\.base_config import"),
    "rel-1-missing": ("src/bem_core/training/__init__.py", r"^from \.config_loader import"),
    "rel-1-module": ("src/bem_core/__init__.py", r"^from \. import training$"),
    "rel-3-core": ("src/bem2/*/unified_trainer.py", r"^from \.\.\.bem_core\.training\.base_trainer import"),
    "rel-1-try": ("src/bem2/safety/__init__.py", TRY + r"from \.safety_basis import"),
    "rel-outside-src": ("scripts/*.py", r"from \.page_guard import"),
    "rel-tests": ("tests/legacy/*.py", r"^from \.controller import"),
    "rel-main-guard": ("src/bem2/online/*.py", r"^if __name__[\s\S]*?    from \.\w+ import"),
    "rel-2-local": ("src/bem_core/**/*.py", r"^        from \.\.config\.config_loader import"),
    "rel-3-local": ("src/bem2/*/unified_trainer.py", r"^    from \.\.\.bem_core\.config"),
    "rel-3-renamed": ("src/bem2/router/*.py", r"^from \.\.\.bem\.(?:trust_region|modules\.\w+) import"),
    "rel-1-local": ("src/bem_legacy/*.py", r"^        from \.modules\.parallel_lora import ParallelLoRAExpert"),
    "rel-2-missing": ("src/bem2/multimodal/*.py", r"^from \.\.controller import"),
    "rel-1-local-try-exception": (
        "src/bem_legacy/*.py",
        r"            from \.interference_testing[\s\S]*?except Exception",
    ),
    "rel-1-local-try-importerror": (
        "src/bem_legacy/*.py",
        r"            from \.kernels\.cuda_ops[\s\S]*?except ImportError",
    ),
    "rel-1-local-try-two": ("src/bem_legacy/kernels/*.py", r"except \(ImportError, RuntimeError\)"),
    "rel-beside-bem": ("src/bem2/perftrack/*.py", r"^from \.\.security\.\S+ import .*\nfrom bem\.modules"),
    "all-list": ("src/**/__init__.py", r"^__all__ = \[\n"),
    # the search path
    "path-parent-2": ("**/*.py", r"sys\.path\.append\(str\(Path\(__file__\)\.parent\.parent\)\)"),
    "path-parent-1": ("**/*.py", r"sys\.path\.append\(str\(Path\(__file__\)\.parent\)\)"),
    "path-parent-2-folder": (
        "tests/*.py",
        r"sys\.path\.append\(str\(Path\(__file__\)\.parent\.parent / 'pipeline'\)\)",
    ),
    "path-parent-3": ("scripts/**/*.py", r"sys\.path\.append\(str\(Path\(__file__\)\.parent\.parent\.parent\)\)"),
    "path-dirname": ("scripts/**/*.py", r"sys\.path\.append\(os\.path\.dirname\(os\.path\.abspath\(__file__\)\)\)"),
    "path-variable": ("scripts/**/*.py", r"sys\.path\.insert\(0, str\(project_root\)\)"),
    "path-folder": ("*.py", r"sys\.path\.append\(str\(Path\(__file__\)\.parent / \"pipeline\"\)\)"),
    "path-join-src": ("scripts/**/*.py", r"os\.path\.join\(os\.path\.dirname\(__file__\), '\.\.', '\.\.', 'src'\)"),
    "path-insert-src": ("scripts/**/*.py", r"insert\(0, str\(Path\(__file__\)\.parent\.parent\.parent / \"src\"\)\)"),
    "path-root-src": ("scripts/*.py", r"insert\(0, str\(project_root / \"src\"\)\)"),
    "path-root-dir": ("scripts/**/*.py", r"insert\(0, str\(ROOT_DIR\)\)"),
    "path-cwd": ("scripts/**/*.py", r"insert\(0, str\(Path\.cwd\(\)\)\)"),
    "path-insert-parent": ("scripts/**/*.py", r"insert\(0, str\(Path\(__file__\)\.parent\)\)"),
    "path-join-dot": ("tests/*.py", r"append\(os\.path\.join\(os\.path\.dirname\(__file__\), '\.'\)\)"),
    "path-insert-dirname": ("tests/*.py", r"insert\(0, os\.path\.dirname\(os\.path\.abspath\(__file__\)\)\)"),
    # dynamic imports
    "dyn-import-variable": ("scripts/**/*.py", r"__import__\((?:demo|package)_name\)"),
    "dyn-import-fromlist": ("tests/*.py", r"__import__\(module_name, fromlist=expected_classes\)"),
    "dyn-exec": ("setup.py", r"exec\(f\.read\(\), version_vars\)"),
    "dyn-sys-modules": ("tests/*.py", r"in sys\.modules"),
    "dyn-find-spec": ("tests/*.py", r"importlib\.util\.find_spec\(module_name\)"),
    "dyn-spec-from-file": ("tests/*.py", r"importlib\.util\.spec_from_file_location\(module_name, file_path\)"),
    "dyn-import-module": ("scripts/**/*.py", r"importlib\.import_module\(\"bem\.modules\.governance\"\)"),
    "dyn-import-module-name": ("scripts/**/*.py", r" import_module\(\"src\.bem_legacy"),
    "dyn-import-literal": ("scripts/**/*.py", r"__import__\(\"src\.bem_core\."),
    "dyn-resolve-name": ("scripts/**/*.py", r"resolve_name\(\"bem\.trust_region:\w+\"\)"),
    "dyn-find-spec-literal": ("scripts/**/*.py", r"find_spec\(\"bem\.retrieval\"\)"),
    "dyn-runpy": ("scripts/**/*.py", r"runpy\.run_module\(\"bem2\.training\.train\""),
    "dyn-computed": ("scripts/**/*.py", r"import_module\(f\"bem2\.\{"),
    # patches
    "mock-other": ("tests/*.py", r"patch\('train\.main'\)"),
    "mock-builtins": ("tests/*.py", r"patch\(\"builtins\.open\"\)"),
    "mock-object": ("tests/*.py", r"patch\.object\(\w+, '_?\w+'"),
    "mock-decorator": ("tests/*.py", r"@patch\('src\.bem2\.router\.unified_trainer\.AgenticRouter'\)"),
    "mock-missing-attribute": ("tests/*.py", r"patch\(\"src\.bem2\.router\.unified_trainer\.convert_legacy_config\"\)"),
    "mock-missing-class": ("tests/*.py", r"patch\(\"src\.bem2\.router\.training\.RouterTrainer\"\)"),
    "mock-missing-logger": ("tests/*.py", r"patch\(\"src\.bem_core\.config\.config_loader\.logger\"\)"),
    "mock-mocker": ("tests/*.py", r"mocker\.patch\(\"bem\."),
    "monkeypatch-name": ("tests/*.py", r"monkeypatch\.setattr\(\"src\.bem_core\."),
    "importorskip": ("tests/*.py", r"importorskip\(\"bem\.retrieval\"\)"),
    # strings
    "str-path-list": ("scripts/**/*.py", r"^    \"bem/modules\",$"),
    "str-path-key": ("scripts/**/*.py", r"^    \"bem/modules/parallel_lora\.py\": \["),
    "str-path-inside": ("scripts/**/*.py", r"\"[^\"]* python bem/kernels/build\.py [^\"]*\""),
    "str-dotted-list": ("tests/*.py", r"^    \"bem\.retrieval\",$"),
    "str-argv": ("deployment/**/*.py", r"\"-m\", \"bem2\.training\.train\""),
    "str-argv-list": ("scripts/**/*.py", r"= \[\"python\", \"-m\", \"bem2\.training\.train\"\]"),
    "str-path-tuple": ("scripts/**/*.py", r"\(\"bem/modules/parallel_lora\.py\", "),
    "str-dotted-tuple": ("tests/*.py", r"\(\"src\.bem_core\.training\.base_trainer\", \["),
    "str-bare-key": ("setup.py", r"^        \"bem_core\": \["),
    "str-bare-other": ("scripts/**/*.py", r"/ \"bem_core\" /"),
    "str-bare-keyword": ("scripts/**/*.py", r"system=\"bem2\""),
    "str-path-constant": ("scripts/*.py", r"= \"src/bem_core/config/templates\""),
    "str-path-call": ("tests/*.py", r"Path\(\"bem/__init__\.py\"\)"),
    "str-generated-code": ("scripts/dev/*.py", r"'''[\s\S]*?import bem_core[\s\S]*?'''"),
    "str-minus-c": ("scripts/dev/*.py", r"\"-c\", \"import bem_core; "),
    "str-registry": ("scripts/**/*.py", r"^    \"router\": \"bem2\.router\.training\",$"),
    "docstring-usage": ("src/**/*.py", r"^    python bem2/router/train_agentic_router\.py --config"),
    # forms for a test of their own
    "stale-head": ("tests/*.py", r"import HeadGatingModule"),
    "stale-mask": ("tests/*.py", r"import DynamicMaskModule"),
    "stale-film": ("src/bem2/training/*.py", r"import ResidualFiLMController"),
    "stale-protector": ("src/bem2/perftrack/*.py", r"import ParameterProtector"),
    "not-exported": ("scripts/**/*.py", r"HallucinationDetector,  # not exported"),
    "one-statement-two-modules": ("scripts/**/*.py", r"ParetoAnalyzer, BudgetValidator[^)]*?BudgetConstraints"),
    "two-roots": ("scripts/**/*.py", r"^from src\.bem_core[\s\S]*?    from bem2\.multimodal import"),
    # look-alikes
    "trap-instance-id": ("scripts/**/*.py", r"register_bem\(\"bem2\", "),
    "trap-subspace-id": ("scripts/**/*.py", r"allocate_subspace\(\"bem2\", "),
    "trap-utilization-id": ("scripts/**/*.py", r"record_utilization\(\"bem2\", "),
    "trap-performance-id": ("scripts/**/*.py", r"record_performance\(\"bem2\", "),
    "trap-stats-id": ("scripts/**/*.py", r"get_performance_stats\(\"bem2\"\)"),
    "trap-allocation-id": ("scripts/**/*.py", r"get_allocation\(\"bem2\"\)"),
    "trap-comparison": ("scripts/**/*.py", r"!= \"bem2\""),
    "trap-project": ("experiments/*.yml", r"wandb_project: bem2-multimodal"),
    "trap-wandb": ("src/**/*.py", r"project=\"bem2-safety-training\""),
    "trap-file-name": ("deployment/**/gates_bem2.yaml", r"image: \"bem:latest\""),
    "trap-sql": ("tests/sql/*.sql", r"CREATE TABLE IF NOT EXISTS bem\.models"),
    "trap-logger": ("src/**/*.py", r"f\"bem_trainer_\{"),
    "trap-local": ("scripts/**/*.py", r"^    bem = \{"),
    "trap-distribution": ("setup.py", r"provides=\[\"bem\"\]"),
    "trap-pip": ("README.md", r"pip install bem$"),
    # other kinds of file
    "ci-minus-m-json": (".github/workflows/*.yml", r"CMD \[\"python\", \"-m\", \"bem_core\"\]"),
    "ci-tag": (".github/workflows/*.yml", r"image-ref: 'bem:security-scan'"),
    "ci-import": (".github/**/*.yml", r"from bem_core import BEMModel"),
    "ci-import-issue": (".github/ISSUE_TEMPLATE/*.yml", r"from bem_core import NewFeature"),
    "ci-minus-c": (".github/workflows/*.yml", r"python -c \"import bem_core; "),
    "ci-minus-m": (".github/workflows/*.yml", r"python -m src\.bem2\."),
    "ci-path": (".github/workflows/*.yml", r"mypy bem/"),
    "docker-pythonpath": ("Dockerfile.test", r"PYTHONPATH=\"/app/src\" \\"),
    "docker-minus-c": ("Dockerfile.test", r"CMD python -c \"import bem_core; .*\|\| exit 1"),
    "docker-argv": ("Dockerfile.test", r"\[\"python\", \"-m\", \"src\.bem2\.training\.train\"\]"),
    "manifest-path": ("MANIFEST.in", r"recursive-include src/bem_core/config \*\.yaml"),
    "make-tag": ("Makefile", r"docker build -t bem:latest \."),
    "make-minus-m": ("Makefile", r"\tpython -m src\.bem2\.training\.train"),
    "make-minus-c": ("Makefile", r"\tpython -c \"from bem\.controller import"),
    "md-pythonpath": ("docs/*.md", r"export PYTHONPATH=\"\$\{BEM_FLEET_ROOT\}"),
    "md-bare": ("*.md", r"^### 1\.1 Create bem_core Foundation"),
    "md-attribute": (".github/*.md", r"result = bem\.new_feature\(\)"),
    "md-tag": (".github/*.md", r"docker pull bem:v\[VERSION\]"),
    "md-import": ("*.md", r"^from src\.bem2\.router\.training import RouterTrainer"),
    "md-import-list": ("*.md", r"^  import src\.bem2\.safety\.training as"),
    "md-import-tilde": ("*.md", r"^~~~python\n"),
    "md-path": ("docs/*.md", r"secret:bem/database-url"),
    "md-path-module": ("docs/*.md", r"bem/training/train\.py"),
    "md-path-src": ("*.md", r"`src/bem_core/_version\.py`"),
    "md-minus-c": ("docs/*.md", r"python -c \"import bem2; "),
    "md-minus-m": ("src/**/*.md", r"python -m bem2\.multimodal\.precompute --encoder"),
    "md-python-path": ("docs/*.md", r"^python bem2/router/train_agentic_router\.py \\"),
    "shell-minus-c": ("scripts/**/*.sh", r"python -c \"import bem; .*\|\| \{"),
    "shell-minus-m": ("scripts/**/*.sh", r"^python -m bem2\.training\.train"),
    "batch-minus-c": ("scripts/**/*.bat", r"python -c \"import bem; "),
    "yaml-tag": ("experiments/*.yml", r"^ +- bem2$"),
    "yaml-docker": ("scripts/*.yml", r"- \"docker build -t bem:latest \.\""),
    "yaml-path": ("experiments/*.yml", r"kernel_path: \"bem/kernels/\""),
    "yaml-target": ("experiments/hydra/*.yaml", r"_target_: \"?(?:src\.)?bem"),
    "yaml-class-path": ("experiments/hydra/*.yaml", r"class_path: bem\."),
    "ignore-path": (".repomixignore", r"^src/bem2/safety/\*secure\.py"),
    "xml-path": ("deployment/**/*.xml", r"<cmd>python bem/kernels/build\.py --check-numerics"),
    "codeowners-path": (".github/CODEOWNERS", r"^/src/bem_core/ @"),
    "pyproject-bare": ("pyproject.toml", r"^bem_core = \[\"config/templates/\*\.yaml\""),
    "pyproject-script": ("pyproject.toml", r"bem-info = \"bem_core\._version:print_version_info\""),
    "pyproject-entry-point": ("pyproject.toml", r"= \"bem\.kernels\.build:main\""),
    "pyproject-path": ("pyproject.toml", r"\"src/bem_legacy/\*\","),
    "pyproject-version-file": ("pyproject.toml", r"\"src/bem_core/_version\.py:__version__\""),
    "setup-cfg-entry-point": ("setup.cfg", r"= src\.bem2\.evaluate_agentic_router:main"),
    "tox-pythonpath": ("tox.ini", r"PYTHONPATH = \{toxinidir\}/src"),
    "tox-path": ("tox.ini", r"^    src/bem_legacy/\*"),
    "rst-block": ("docs/*.rst", r"^\.\. code-block:: python\n\n   from bem\."),
    "rst-literal": ("docs/*.rst", r"::\n\n   from bem\.retrieval"),
    "rst-role": ("docs/*.rst", r":class:`bem\."),
    "rst-doctest": ("docs/*.rst", r"^>>> from bem\."),
    # forms the real repository lacks
    "star": ("scripts/**/*.py", r"^from bem\.controller import \*$"),
    "type-checking": ("scripts/**/*.py", r"^if TYPE_CHECKING:\n    from bem\."),
    "string-annotation": ("scripts/**/*.py", r"List\[\"bem\.controller\.HierarchicalController\"\]"),
    "doctest": ("scripts/**/*.py", r"^>>> from bem\."),
    "chain": ("scripts/**/*.py", r"^import bem\.modules\.governance$[\s\S]*?= bem\.modules\.governance\.\w+"),
    "chain-several-names": ("scripts/**/*.py", r"^import bem\.trust_region as tr, json$"),
    "chain-escapes": ("scripts/**/*.py", r"describe\(bem\.controller\)"),
}


@cache
def files(pattern: str) -> tuple[str, ...]:
    """Return the texts of the files that a glob matches."""
    paths = sorted(path for path in REPO.glob(pattern) if path.is_file())
    return tuple(path.read_text(encoding="latin-1") for path in paths)


@pytest.mark.parametrize(("pattern", "form"), FORMS.values(), ids=FORMS)
def test_form_occurs(pattern: str, form: str) -> None:
    assert any(re.search(form, text, re.MULTILINE) for text in files(pattern))


def _fails_as_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


BYTES = {
    "crlf": ("windows_export.py", lambda data: data.count(b"\r\n") == data.count(b"\n") > 0),
    "mixed-newlines": ("mixed_newlines.py", lambda data: 0 < data.count(b"\r\n") < data.count(b"\n")),
    "bom": ("bom_report.py", lambda data: data.startswith(b"\xef\xbb\xbf") and not data.isascii()),
    "latin-1": ("authors.py", lambda data: b"coding: latin-1" in data and _fails_as_utf8(data)),
    "no-final-newline": ("one_liner.py", lambda data: not data.endswith(b"\n")),
    "semicolon": ("one_liner.py", lambda data: b"SubspacePlanner; import bem2.evaluation as ev\n" in data),
    "tabs": ("tabbed.py", lambda data: b"\n\t\tfrom bem.retrieval" in data),
    "form-feed": ("tabbed.py", lambda data: b"\n\x0c\n" in data),
}


@pytest.mark.parametrize(("name", "holds"), BYTES.values(), ids=BYTES)
def test_bytes_of_special_file(name: str, holds: object) -> None:
    data = (REPO / "scripts" / "analysis" / name).read_bytes()
    assert callable(holds)
    assert holds(data)
    assert b"bem" in data


def test_python_parses_but_one_file() -> None:
    broken = []
    for path in REPO.rglob("*.py"):
        try:
            ast.parse(path.read_bytes())
        except SyntaxError:
            broken.append(path.relative_to(REPO).as_posix())
    assert broken == [PYTHON_2]


def test_notebook_has_outputs_metadata_and_magics() -> None:
    notebook = json.loads((REPO / "notebooks" / "explore_router.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert any(cell["outputs"] for cell in cells)
    assert all(cell["metadata"] for cell in cells)
    assert notebook["metadata"]["kernelspec"]
    assert [source.splitlines()[0] for source in sources if source.startswith("%")] == [
        "%load_ext autoreload",
        "%%time",
        "%%bash",
    ]
    assert any(line.startswith("!") for source in sources for line in source.splitlines())


IMPORTS = {
    "core-under-src": ("src", "bem_core", "No module named 'bem_core.training.config_loader'"),
    "core-under-root": (".", "src.bem_core", "No module named 'src.bem_core.training.config_loader'"),
    "bem2-under-src": ("src", "bem2, bem2.router, bem2.safety, bem2.multimodal, bem2.perftrack", None),
    "bem2-under-root": (
        ".",
        "src.bem2, src.bem2.router, src.bem2.safety, src.bem2.multimodal, src.bem2.perftrack",
        None,
    ),
    "unified-under-src": ("src", "bem2.router.unified_trainer", "attempted relative import beyond top-level package"),
}


@pytest.mark.parametrize(("root", "modules", "error"), IMPORTS.values(), ids=IMPORTS)
def test_components_import_and_the_abandoned_migration_does_not(root: str, modules: str, error: str | None) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO / root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", f"import {modules}"]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (error is not None), done.stderr
    if error is not None:
        assert done.stderr.splitlines()[-1].endswith(error)


# Flags of each entry point, `*` for one that is required: what callers pass is part of the reference.
FLAGS = {
    "src/bem2/router/train_agentic_router.py": "config* phase load_bc output_dir device log_level seed",
    "src/bem2/train_agentic_router.py": "phase* config* checkpoint output device log_level",
    "src/bem2/evaluate_agentic_router.py": "model* baseline config out device log_level",
    "src/bem2/router/synthesize_traces.py": "experts num_traces out* seed chunk_size max_chunks domain_dist log_level",
    "src/bem2/training/train.py": "config* output-dir* experiment-name*",
    "-m bem2.multimodal.precompute": "encoder* images* out* batch-size num-workers max-images cache-dir clear-cache",
    "scripts/utilities/train_multimodal.py": "config* output resume debug dry-run",
    "scripts/evaluation/vqa_suite.py": "model* data* images output* batch-size max-samples device",
    "scripts/demos/demo_multimodal.py": "question* image device output",
}


@pytest.mark.parametrize("entry", FLAGS)
def test_entry_points_have_their_flags(entry: str) -> None:
    environment = {**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "999"}
    command = [sys.executable, "-W", "ignore", *entry.split(), "--help"]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    usage = done.stdout.partition("\n\n")[0]
    optional = re.sub(r"^usage: .*?\[-h\]|\[.*?\]+", "", usage)
    flags = {flag: "*" if f"--{flag}" in optional.split() else "" for flag in re.findall(r"--([a-z_-]+)", usage)}
    assert {flag + mark for flag, mark in flags.items()} == set(FLAGS[entry].split())
