"""A process that cannot go on says which other one is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from torch.distributed import HashStore

from bem_core.errors import TrainingError, TrainingInterrupted
from bem_core.training import peers
from bem_core.training.distributed import Ranks
from bem_core.training.peers import PeerError, named_failures

CLOSED = "[.../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4321"
HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def sigterm_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(peers, "_GRACE_S", 0.1)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def ranks(**others: str) -> Ranks:
    """Rank 0 of three; ``here_1="pid host"`` and ``ended_1="text"`` are what others left in the store."""
    store = HashStore()
    for rank in range(3):
        store.set(f"here/{rank}", f"{os.getpid()} {HOST}")
    for key, text in others.items():
        store.set(key.replace("_", "/"), text)
    return Ranks(0, 3, 0, store, 30.0)


def reason(ranks: Ranks, error: Exception) -> str:
    with pytest.raises(PeerError) as caught, named_failures(ranks):
        raise error
    return str(caught.value)


def test_a_dead_process_is_named(dead_pid: int) -> None:
    found = reason(ranks(here_1=f"{dead_pid} {HOST}"), RuntimeError(CLOSED))
    assert found == f"rank 0 cannot go on: rank 1 (process {dead_pid} on {HOST}) was killed or crashed"


def test_a_process_that_failed_by_itself_is_quoted(dead_pid: int) -> None:
    told = ranks(here_1=f"{dead_pid} {HOST}", ended_1="", ended_2="DataError: line 3 is no JSON")
    assert reason(told, RuntimeError(CLOSED)) == "rank 0 cannot go on: rank 2 ended with DataError: line 3 is no JSON"


def test_a_process_that_is_silent_is_named_with_the_option() -> None:
    told = ranks(ended_1="", here_2="17 elsewhere")
    found = reason(told, RuntimeError("Timed out waiting 30000ms for recv operation to complete"))
    assert found == (
        "rank 0 cannot go on: rank 2 (process 17 on elsewhere) does not answer; hardware.process_timeout_s is 30"
    )


def test_without_word_of_anybody_the_error_itself_is_told() -> None:
    assert "Connection closed by peer [127.0.0.1]:4321" in reason(ranks(ended_1="", ended_2=""), RuntimeError(CLOSED))
    assert "Connection closed by peer" in reason(Ranks(0, 2), RuntimeError(CLOSED))


@pytest.mark.parametrize("error", [ValueError("no tensor"), RuntimeError("shape '[3]' is invalid"), TrainingError("x")])
def test_other_errors_stay_as_they_are_and_leave_word(error: Exception) -> None:
    told = ranks()
    with pytest.raises(type(error)) as caught, named_failures(told):
        raise error
    assert caught.value is error
    assert told.store is not None
    assert told.store.get("ended/0").decode() == f"{type(error).__name__}: {error}"


def test_an_interruption_is_no_failure() -> None:
    told = ranks()
    with pytest.raises(TrainingInterrupted), named_failures(told):
        raise TrainingInterrupted("SIGTERM", 143)
    assert told.store is not None
    assert not told.store.check(["ended/0"])


def test_one_process_is_left_alone() -> None:
    error = RuntimeError(CLOSED)
    with pytest.raises(RuntimeError) as caught, named_failures(Ranks()):
        raise error
    assert caught.value is error
