"""Commands in shell scripts, Makefiles, batch files and Dockerfiles, before and after."""

# ruff: noqa: E501 -- one row a case

from __future__ import annotations

import pytest

from migrate import moves_file
from migrate.edits import apply
from migrate.imports.context import Context
from migrate.imports.kinds import rewriter

MOVES = moves_file.parse(
    """
    version: 1
    moves:
      - {old: src.bem2, new: bem2, kind: module}
      - {old: bem, new: bem_legacy, kind: module}
      - {old: bem2.router.training, new: bem2.router.loop, kind: module}
      - {old: bem2.gone, removed: use torch.compile}
      - {old: bem2.adapted, new: bem2.fitted, shim_only: takes a config now}
    """,
    "moves.yaml",
)
PATHS = {"sh": "run.sh", "bat": "run.bat", "make": "Makefile", "docker": "Dockerfile"}


def check(kind: str, before: str) -> tuple[str, list[str]]:
    """Rewrite twice; return the new text and the findings of the first time."""
    ctx = Context(PATHS[kind], MOVES)
    rewrite = rewriter("sh" if kind == "bat" else kind)
    result = rewrite(before, ctx)
    after = apply(before, result.edits)
    assert rewrite(after, ctx).edits == []
    return after, [f"{finding.line}:{finding.column} {finding.code}" for finding in result.findings]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        pytest.param("sh", "python -m bem\n", "python -m bem_legacy\n", id="one word"),
        pytest.param("sh", "python3.11 -u -X dev -m bem.x", "python3.11 -u -X dev -m bem_legacy.x", id="options"),
        pytest.param("sh", "python -um bem.x", "python -um bem_legacy.x", id="options in one word"),
        pytest.param("sh", "/opt/bin/python -m 'bem.x'", "/opt/bin/python -m 'bem_legacy.x'", id="quoted"),
        pytest.param("sh", "python \\\r\n  -m \\\r\n\tbem.x  \r\n", "python \\\r\n  -m \\\r\n\tbem_legacy.x  \r\n", id="crlf"),
        pytest.param("sh", "A=1 nohup python -m src.bem2.a &", "A=1 nohup python -m bem2.a &", id="prefix move"),
        pytest.param("sh", "torchrun --nnodes 2 -m bem.x -m y", "torchrun --nnodes 2 -m bem_legacy.x -m y", id="torchrun"),
        pytest.param("sh", "accelerate launch --module bem.x", "accelerate launch --module bem_legacy.x", id="accelerate"),
        pytest.param("sh", "deepspeed --module=bem.x", "deepspeed --module=bem_legacy.x", id="equals sign"),
        pytest.param("sh", "python -m torch.distributed.run -m bem.x", "python -m torch.distributed.run -m bem_legacy.x", id="launcher module"),
        pytest.param("sh", "python -m pdb -m bem.x", "python -m pdb -m bem_legacy.x", id="pdb"),
        pytest.param("sh", "coverage run --source=bem,bem2 -m bem.x", "coverage run --source=bem_legacy,bem2 -m bem_legacy.x", id="coverage"),
        pytest.param("sh", "poetry run python -m bem.x; uv run -m bem.y", "poetry run python -m bem_legacy.x; uv run -m bem_legacy.y", id="runners"),
        pytest.param("sh", "python -m pytest --cov=bem -p bem.plugin", "python -m pytest --cov=bem_legacy -p bem_legacy.plugin", id="pytest"),
        pytest.param("sh", "pytest --cov bem -p no:bem.plugin", "pytest --cov bem_legacy -p no:bem_legacy.plugin", id="pytest words"),
        pytest.param("sh", "mypy -p bem -m bem.x", "mypy -p bem_legacy -m bem_legacy.x", id="mypy"),
        pytest.param("sh", "gunicorn -w 2 'bem.app:create()'", "gunicorn -w 2 'bem_legacy.app:create()'", id="gunicorn"),
        pytest.param("sh", "uvicorn bem.app:app --reload", "uvicorn bem_legacy.app:app --reload", id="uvicorn"),
        pytest.param("sh", "celery -A bem.worker worker", "celery -A bem_legacy.worker worker", id="celery"),
        pytest.param("sh", 'export FLASK_APP="bem.app"', 'export FLASK_APP="bem_legacy.app"', id="variable"),
        pytest.param("sh", "python t.py model._target_=bem.x.Y", "python t.py model._target_=bem_legacy.x.Y", id="override"),
        pytest.param("sh", 'bash -lc "python -m bem.x && ls"', 'bash -lc "python -m bem_legacy.x && ls"', id="shell in shell"),
        pytest.param("sh", 'CMD="python -m bem.x"', 'CMD="python -m bem_legacy.x"', id="command in a variable"),
        pytest.param("sh", "x=$(python -m bem.x) `python -m bem.y`", "x=$(python -m bem_legacy.x) `python -m bem_legacy.y`", id="substitution"),
        pytest.param("sh", 'echo "$(python -m bem.x)"', 'echo "$(python -m bem_legacy.x)"', id="substitution in quotes"),
        pytest.param("sh", "echo don't\npython -m bem.x\necho can't", "echo don't\npython -m bem_legacy.x\necho can't", id="apostrophes"),
        pytest.param(
            "sh",
            'python -c "import bem; print(bem.__version__)" || exit 1',
            'python -c "import bem_legacy as bem; print(bem.__version__)" || exit 1',
            id="code",
        ),
        pytest.param(
            "sh",
            "python - <<'PY'\nfrom bem.x import y\nPY\npython -m bem.z\n",
            "python - <<'PY'\nfrom bem_legacy.x import y\nPY\npython -m bem_legacy.z\n",
            id="here-document of python",
        ),
        pytest.param("sh", "cat > run.sh <<EOF\npython -m bem.x\nEOF\n", "cat > run.sh <<EOF\npython -m bem_legacy.x\nEOF\n", id="here-document of shell"),
        pytest.param("bat", "@python -m bem.x ^\r\n  --a 2>nul\r\n", "@python -m bem_legacy.x ^\r\n  --a 2>nul\r\n", id="batch"),
        pytest.param("bat", "%PYTHON% -m bem.x", "%PYTHON% -m bem_legacy.x", id="batch variable"),
        pytest.param("make", "train:\n\t@$(PYTHON) -m bem.x\n", "train:\n\t@$(PYTHON) -m bem_legacy.x\n", id="recipe"),
        pytest.param("make", "CMD := python -m bem.x\n", "CMD := python -m bem_legacy.x\n", id="make variable"),
        pytest.param("make", "t:\n\t-python -m bem.x # it's\n\tpython -m bem.y\n", "t:\n\t-python -m bem_legacy.x # it's\n\tpython -m bem_legacy.y\n", id="quote in a comment"),
        pytest.param("docker", "RUN pip install . && \\\n    # why\n    python -m bem.x\n", "RUN pip install . && \\\n    # why\n    python -m bem_legacy.x\n", id="run"),
        pytest.param("docker", 'CMD ["python","-m","bem"]', 'CMD ["python","-m","bem_legacy"]', id="exec form"),
        pytest.param("docker", 'ENTRYPOINT [ "python", \\\n  "-m", "bem.x" ]', 'ENTRYPOINT [ "python", \\\n  "-m", "bem_legacy.x" ]', id="exec form over lines"),
        pytest.param("docker", 'HEALTHCHECK --timeout=3s CMD ["sh", "-c", "python -m bem.x"]', 'HEALTHCHECK --timeout=3s CMD ["sh", "-c", "python -m bem_legacy.x"]', id="health check"),
        pytest.param("docker", "ENV A=1 FLASK_APP=bem.app:app\nENV FLASK_APP bem.app", "ENV A=1 FLASK_APP=bem_legacy.app:app\nENV FLASK_APP bem_legacy.app", id="env"),
    ],
)  # fmt: skip
def test_changes(kind: str, before: str, after: str) -> None:
    assert check(kind, before) == (after, [])


@pytest.mark.parametrize(
    ("kind", "text", "findings"),
    [
        pytest.param("sh", "pip install bem bem2-multimodal\n", [], id="distribution"),
        pytest.param("sh", "docker run bem:latest\n", [], id="image"),
        pytest.param("sh", "cd bem && ls bem\n", [], id="folder"),
        pytest.param("sh", "echo bem bem2\n", [], id="words"),
        pytest.param("sh", "pytest -m bem tests\n", [], id="marker"),
        pytest.param("sh", "python -m pytest -m bem\n", [], id="marker after a module"),
        pytest.param("sh", "pylint bem\n", [], id="folder or package"),
        pytest.param("sh", "git commit -m bem\n", [], id="message"),
        pytest.param("sh", "python -m bem2.other\n", [], id="not old"),
        pytest.param("sh", "python -m bemx\n", [], id="longer name"),
        pytest.param("sh", "torchrun train.py -m bem\n", [], id="argument of a script"),
        pytest.param("sh", "python -c 'print(1)' bem\n", [], id="argument of code"),
        pytest.param("sh", "python - <<PY\nprint('bem')\nPY\n", [], id="here-document without names"),
        pytest.param("sh", "# python -m bem.x\n", ["1:13 BM105"], id="comment"),
        pytest.param("sh", "echo 'see bem.x'\n", ["1:11 BM105"], id="message with a name"),
        pytest.param("sh", "python train.py --class bem.x.Y\n", ["1:25 BM105"], id="argument"),
        pytest.param("sh", "python bem/x/y.py\n", ["1:8 BM112"], id="path"),
        pytest.param("sh", "cp src/bem2/router/training.py x\n", ["1:4 BM112"], id="path below src"),
        pytest.param("sh", "ls src/bem2/other.py results/bem/x.png\n", [], id="paths that stay"),
        pytest.param("sh", "curl https://x.org/bem/y.py s3://bem/z.py\n", [], id="addresses"),
        pytest.param("sh", 'python -c "import bem; print($X)"\n', ["1:19 BM105"], id="code with a variable"),
        pytest.param("sh", "python -c import\\ bem.x\n", ["1:19 BM105"], id="code without quotes"),
        pytest.param("sh", "python -m bem2.gone\n", ["1:11 BM106"], id="removed"),
        pytest.param("sh", "python -m bem2.adapted.x\n", ["1:11 BM107"], id="adapter only"),
        pytest.param("bat", "REM python -m bem.x\r\n", ["1:15 BM105"], id="batch comment"),
        pytest.param("bat", ":: python -m bem.x\r\n", ["1:14 BM105"], id="batch label comment"),
        pytest.param("make", "bem: ; docker build -t bem:latest .\n", [], id="target"),
        pytest.param("make", ".PHONY: bem\n", [], id="phony"),
        pytest.param("make", "x:\n\t@echo $(bem.x)\n", ["2:10 BM105"], id="make function"),
        pytest.param("docker", "FROM bem:latest AS bem\nLABEL name=bem\n", [], id="image and label"),
        pytest.param("docker", "COPY bem/ /app/bem/\nWORKDIR /bem\n", [], id="folders"),
        pytest.param("docker", "# python -m bem.x\n", ["1:13 BM105"], id="docker comment"),
        pytest.param("docker", 'ENV PYTHONPATH="/app/src" \\\n    NAME=bem\n', [], id="other variables"),
        pytest.param("docker", 'CMD ["bem"]\nVOLUME ["/bem"]\n', [], id="program of that name"),
    ],
)  # fmt: skip
def test_stays(kind: str, text: str, findings: list[str]) -> None:
    assert check(kind, text) == (text, findings)


def test_a_move_before_a_blocked_name_is_done() -> None:
    assert check("sh", "python -m src.bem2.gone\n") == ("python -m bem2.gone\n", ["1:11 BM106"])


def test_an_unbalanced_quote_hides_nothing_after_it() -> None:
    after, _ = check("sh", "echo it's\n" * 3 + "python -m bem.x\n")
    assert after.endswith("python -m bem_legacy.x\n")


@pytest.mark.parametrize("kind", ["make", "docker"])
def test_an_unbalanced_quote_ends_with_its_line(kind: str) -> None:
    after, _ = check(kind, 'RUN echo "\nRUN python -m bem.x\nRUN echo "\n')
    assert after == 'RUN echo "\nRUN python -m bem_legacy.x\nRUN echo "\n'
