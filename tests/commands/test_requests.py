"""`unweave requests`: what each word prints, its exit code, and what bad input gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ledger._ledgers import small
from unweave.cli import main
from unweave.ledger import Ledger, batch


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["requests", *arguments])
    return int(caught.value.code or 0)


def test_from_a_request_to_its_rejection(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.txt").write_text("4\n9\n")
    dates = ["--received", "2026-01-05", "--due", "2026-02-04"]
    assert code("add", "2026-1", "--rows", "rows.txt", *dates, "--basis", "GDPR 17", "--note", "by mail") == 0
    assert "entry 2 of ledger, due on 2026-02-04" in capsys.readouterr().out
    assert code("add", "2026-2", "--class", "3", "--class", "cat", "--due", "2999-01-01", "--json") == 0
    assert json.loads(capsys.readouterr().out)["body"]["selector"] == {"class": [3, "cat"]}
    assert code("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["overdue"], row["records"]) for row in rows] == [
        ("2026-1", True, 2),
        ("2026-2", False, None),
    ]
    assert code("list") == 0
    said = capsys.readouterr().out
    assert "OVERDUE by" in said and "class 3" in said and "2 requests, 1 overdue" in said
    assert code("list", "--overdue", "--status", "open") == 0
    assert "1 requests, 1 overdue" in capsys.readouterr().out
    assert code("reject", "2026-1", "--reason", "not [b]our[/b] data") == 0
    assert code("show", "2026-1") == 0
    said = capsys.readouterr().out
    assert "request 2026-1: rejected" in said and "not [b]our[/b] data" in said and "basis: GDPR 17" in said
    assert code("show", "2026-2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "open"
    assert code("list", "--status", "rejected") == 0 and "1 requests, 0 overdue" in capsys.readouterr().out


def test_verify_and_its_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = small(Path("ledger"))
    assert code("verify") == 0
    said = capsys.readouterr().out
    head = said.split("head: ")[1].strip()
    assert "12 entries, 2 certificates, 1 attestation: everything is as it was written" in said and len(head) == 64
    assert code("verify", "--head", head, "--json") == 0
    assert json.loads(capsys.readouterr().out)["head"] == head
    model = ledger.folder / "runs/0001/01-R-1/model/model.safetensors"
    assert code("verify", "--model", str(model)) == 0 and "certified for R-1" in capsys.readouterr().out
    Path("other.safetensors").write_bytes(b"x")
    assert code("verify", "--model", "other.safetensors") == 3
    assert "no certificate is for this model" in capsys.readouterr().out
    model.rename("moved.safetensors")
    assert code("verify", "--model", "moved.safetensors") == 2, "nothing speaks against it, but it was not all checked"
    said = capsys.readouterr().out
    assert "put it back" in said and "moved.safetensors: certified for R-1" in said
    model.write_bytes(b"another")
    assert code("verify") == 3 and "is not the model" in capsys.readouterr().out
    Path("moved.safetensors").rename(model)
    assert code("verify") == 0
    ledger.truth.write_bytes(b"".join(ledger.truth.read_bytes().splitlines(keepends=True)[:-2]))
    assert code("verify") == 3 and "the ledger was cut short: the index knows entry 12" in capsys.readouterr().out
    assert code("list") == 2
    assert "cut short" in capsys.readouterr().err


def test_a_key_of_its_own_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert code("add", "A", "--class", "1", "--key", "safe/key", "--ledger", "here") == 0
    assert Path("safe/key").is_file() and not Path("here/private/key").exists()
    assert code("verify", "--ledger", "here") == 0 and "no key" in capsys.readouterr().out
    assert code("add", "B", "--class", "1", "--ledger", "here") == 2
    assert "expected the ledger's key" in capsys.readouterr().err
    monkeypatch.setenv("UNWEAVE_LEDGER_KEY", "safe/key")
    assert code("add", "B", "--class", "1", "--ledger", "here") == 0
    assert code("verify", "--ledger", "here") == 0 and "no key" not in capsys.readouterr().out


BAD = {
    "no ledger": (["list"], "holds no ledger (ledger.jsonl)"),
    "no ledger to verify": (["verify"], "begin one with `unweave requests add`"),
    "no ledger to run": (["run", "recipe.yaml"], "holds no ledger"),
    "names nothing": (["add", "A"], "found none: it names no record"),
    "names nothing in a file": (["add", "A", "--rows", "empty.txt"], "empty.txt names no record"),
    "names records twice": (["add", "A", "--rows", "empty.txt", "--class", "1"], "found --class and --rows"),
    "ids of nobody knows what": (["add", "A", "--ids", "empty.txt"], "--of FILE go together"),
    "an id that is a path": (["add", "../A", "--class", "1"], "expected an id of letters"),
    "no rows file": (["add", "A", "--rows", "none.txt"], "none.txt must hold row numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_message(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").write_text("")
    arguments, text = BAD[name]
    assert code(*arguments) == 2
    told = capsys.readouterr().err
    assert text in told and told.startswith("error: ") and "Traceback" not in told
    assert not Path("ledger").exists()


def test_a_certificate_that_a_later_batch_undid(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = small(Path("ledger"))
    tests = [{"id": name, "met": name == "R-1", "clauses": []} for name in ("R-1", "R-2")]
    entry = ledger.write(lambda _: ("retest", {"batch": "0001", "requests": ["R-1", "R-2"], "tests": tests}))
    monkeypatch.setattr(batch, "run", lambda *_, **__: batch.Outcome((entry,), False))
    assert code("run") == 3
    said = capsys.readouterr().out
    assert "R-1: certified before, still" in said and "R-2: certified before, UNDONE" in said
    assert code("list") == 0 and "undone" in capsys.readouterr().out
    assert code("show", "R-2") == 0 and "after batch 0001: UNDONE" in capsys.readouterr().out
    assert code("show", "R-1") == 0 and "after batch 0001: still met" in capsys.readouterr().out


def test_run_says_what_came_of_every_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger: Ledger = small(Path("ledger"))
    entries = ledger.read()[1].outcomes
    empty = {"created": "", "status": "done", "requests": [], "regressions": [], "advice": ""}
    (ledger.folder / "runs/0001/sequence.json").write_text(json.dumps(empty))
    ends = iter(
        [batch.Outcome(tuple(entries), False), batch.Outcome(tuple(entries[1:]), False), batch.Outcome((), True)]
    )
    asked: list[object] = []
    monkeypatch.setattr(batch, "run", lambda *told, **how: asked.append((told[1:], how)) or next(ends))
    assert code("run", "recipe.yaml", "--only", "R-3", "--together", "-s", "run.steps=3") == 3
    (told, how), *_ = asked
    assert told == (Path("recipe.yaml"), ["run.steps=3"], ["R-3"]) and how["together"] and not how["abandon"]
    said, told = capsys.readouterr()
    assert "report: ledger/runs/0001/report.html" in told and Path("ledger/runs/0001/report.html").is_file()
    assert "R-0: rejected, not ours" in said and "R-2: certified, contract met; claim E0" in said
    assert code("run", "--json") == 0
    assert [each["kind"] for each in json.loads(capsys.readouterr().out)["entries"]] == ["certificate"] * 2
    assert code("run") == 130 and "continue with  unweave requests run --ledger ledger" in capsys.readouterr().err

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "run", stopped)
    assert code("run") == 130
