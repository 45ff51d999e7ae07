"""Killed at any moment, by any of two writers: what was acknowledged is there, and the next write goes on."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.ledger._processes import killed, watched
from tests.run._kills import forked, timed
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, verify


def work(folder: Path, names: Sequence[str], said: Path, reject: bool = False) -> None:
    """Records requests; each is acknowledged in a file once the call has returned."""
    ledger, handle = Ledger(folder), os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, name in enumerate(names):
        ledger.add(Deletion(name, Selector(rows=(number, number + 7))))
        os.write(handle, f"{name} open\n".encode())
        if reject and number % 2:
            ledger.reject(name, "no")
            os.write(handle, f"{name} rejected\n".encode())


def check(ledger: Ledger, said: Path) -> tuple[int, bool]:
    """Everything that was acknowledged is there; how much that is, and whether a torn line was left."""
    before = verify(ledger)
    torn = any("no end" in str(fault) for fault in before.faults)
    assert not before.refuted and len(before.faults) == torn, before.faults
    acknowledged = dict(line.split() for line in said.read_text().splitlines()) if said.exists() else {}
    standing = {each.id: each.status for each in ledger.read()[1].requests.values()}
    for name, status in acknowledged.items():
        assert standing[name] in (status, "rejected"), name
    return len(acknowledged), torn


@pytest.mark.slow
def test_200_random_kill_points(tmp_path: Path) -> None:
    dice, kills, torn, acknowledged, fresh, attempts = random.Random(0), 0, 0, 0, 0, 0
    with watched() as moments:
        work(tmp_path / "whole", ["a", "b", "c"], tmp_path / "said whole", reject=True)
        total = moments.passed
        work(tmp_path / "whole", ["d", "e", "f"], tmp_path / "said whole", reject=True)
        writes = [number - total for number in moments.writes if number > total]
        folder, said = tmp_path / "none", tmp_path / "none"
        while kills < 200:
            if kills % 15 == 0 and fresh == kills // 15:  # from the very first write on
                folder, said = tmp_path / f"ledger {kills}", tmp_path / f"said {kills}"
                fresh += 1
            attempts += 1
            names = [f"{attempts}-{n}" for n in range(3)]
            share = dice.choice([0.0, 1.0, dice.random()])
            moment = dice.choice(writes) if kills % 3 == 2 else dice.randint(1, total)
            ended = killed(lambda: work(folder, names, said, reject=True), moments, moment, share)  # noqa: B023
            if ended != signal.SIGKILL:
                continue
            kills += 1
            ledger = Ledger(folder)
            if ledger.truth.exists():
                count, left = check(ledger, said)
                acknowledged, torn = acknowledged + count, torn + left
            ledger.add(Deletion(f"{kills}-after", Selector(classes=(1,))))
            assert not verify(ledger).faults
    assert kills == 200 and fresh >= 13 and torn >= 15 and acknowledged > 500 and total > 40


@pytest.mark.slow
def test_two_writers_of_whom_one_is_killed(tmp_path: Path) -> None:
    dice, ended = random.Random(1), []
    for turn in range(25):
        folder, said = tmp_path / f"{turn // 5}", tmp_path / f"said {turn // 5}"
        other = os.fork()
        if not other:
            code = 1
            try:
                work(folder, [f"{turn}-steady-{n}" for n in range(4)], said)
                code = 0
            finally:
                os._exit(code)
        names = [f"{turn}-killed-{n}" for n in range(100_000)]  # more than any machine does in the time
        ended.append(timed(lambda: work(folder, names, said, reject=True), dice.uniform(0.001, 0.08)))  # noqa: B023
        assert os.waitpid(other, 0)[1] == 0, "the other writer fails for nobody's sake"
        check(Ledger(folder), said)
        standing = Ledger(folder).read()[1].requests
        assert all(f"{turn}-steady-{n}" in standing for n in range(4))
    assert ended == [signal.SIGALRM] * 25


def test_two_writers_of_one_id(tmp_path: Path) -> None:
    """One wins; its rows are those that are kept."""
    ledger, pids = Ledger(tmp_path / "ledger"), []
    won = tmp_path / "won"
    for number in range(6):
        if not (pid := os.fork()):
            code = 1
            try:
                try:
                    Ledger(ledger.folder).add(Deletion("same", Selector(rows=(number, 90 - number))))
                    won.write_text(str(number))
                except ConfigurationError as error:
                    assert "already" in str(error)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    assert not verify(ledger).faults and len(ledger.read()[0].entries) == 2
    assert ledger.rows_file("same").read_text() == f"[{won.read_text()},{90 - int(won.read_text())}]"


def test_one_run_at_a_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", Selector(classes=(1,))))

    def second() -> None:
        with pytest.raises(ConfigurationError, match="another process"), Ledger(ledger.folder).running():
            pass

    with ledger.running():
        assert forked(second) == 0
        ledger.add(Deletion("B", Selector(classes=(1,))))  # requests come in while others run
    assert forked(lambda: Ledger(ledger.folder).running().__enter__()) == 0
