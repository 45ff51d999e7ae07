"""A contract that so few records cannot decide is not met: what came of it has a word of its own, everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ledger._ledgers import certificate, evidence, small
from unweave.cli import main
from unweave.ledger import Deletion, Ledger, Selector, certified, verify
from unweave.ledger.attestation import put
from unweave.ledger.batch import Outcome
from unweave.ledger.certificate import Carried
from unweave.ledger.chain import Json
from unweave.ledger.decide import _of_contract
from unweave.ledger.publish import publish

WORD = "carried out, not shown"


def clause(side: str, state: str | None, n: int = 3) -> Json:
    """As a run writes it; without a state as an older one did."""
    told = {} if state is None else {"state": state}
    final = {"measured": 0.53, "bound": None, "met": state in ("met", None), "n": n, **told}
    kept = {"side": side, "clause": f"{side} clause", "group": None, "limit": 0.55, "guard": None, "final": final}
    return kept | {"met": final["met"], **told}


def carried(folder: Path, contract: list[Json], **changes: Any) -> Carried:
    folder.mkdir(exist_ok=True)
    summary = {"status": "done", "contract": contract, "model_before": "a", "model_after": "b"}
    (folder / "summary.json").write_text(json.dumps(summary))
    retest: Json = {"met": True, "regressed": False, "clauses": []}
    return Carried("A", "0001", {"reason": "steps used up", "steps": 7}, retest | changes, folder, folder)


CASES: dict[str, tuple[list[Json], str | None]] = {
    "all are met": ([clause("keep", "met"), clause("forget", "met")], None),
    "an older run": ([clause("keep", None), clause("forget", None)], None),
    "what is forgotten is undecided": (
        [clause("keep", "met"), clause("forget", "undecided")],
        "forget clause is undec",
    ),
    "what is kept is undecided": ([clause("keep", "undecided", 9), clause("forget", "met")], "undecided on 9 examples"),
    "nothing was read": ([clause("forget", "undecided") | {"final": None}], "undecided on no examples"),
    "nothing is asked": ([clause("keep", "met")], "no clause asks what was forgotten"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_numbers_cannot_carry_is_not_met(tmp_path: Path, name: str) -> None:
    clauses, said = CASES[name]
    found = carried(tmp_path, clauses)
    assert found.reason is None and bool(found.unshown) == (said is not None)
    assert found.verdict == "contract met" if said is None else found.verdict.startswith(WORD) and said in found.verdict
    assert (_of_contract(found)["budget"] == "supports") == (said is None)


def test_what_is_missed_is_rejected_and_what_is_undecided_later_is_not_undone(tmp_path: Path) -> None:
    found = carried(tmp_path, [clause("forget", "missed"), clause("keep", "undecided")])
    assert found.reason is not None and found.reason[1].endswith("forget clause: measured 0.53, limit 0.55")
    assert _of_contract(found)["utility"] == "undecided" and _of_contract(found)["budget"] == "refutes"
    again = {"clause": "unseen", "limit": 0.55, "measured": 0.5, "met": False, "n": 3, "state": "undecided"}
    found = carried(tmp_path, [clause("forget", "met")], met=False, state="undecided", clauses=[again])
    assert found.reason is None and found.unshown == ["unseen is undecided on 3 examples, once all were read"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of `small`, and R-3 in a batch of its own: carried out, not shown."""
    ledger = small(tmp_path / "ledger")
    body = certificate(ledger.folder, "R-3", 3)
    clauses = [{"side": "forget", "clause": "unseen", "limit": 0.55, "measured": 0.53, "n": 3}]
    body |= {"verdict": f"{WORD}: unseen is undecided on 3 examples", "shown": False, "batch": "0002"}
    body["contract"] = [each | {"met": False, "state": "undecided"} for each in clauses]
    recipe = {"file": "runs/0001.yaml", "sha256": ledger.read()[1].batches["0001"].body["recipe"]["sha256"]}
    ledger.write(lambda _: ("batch", {"batch": "0002", "requests": ["R-3"], "recipe": recipe, "data": ""}))
    entry = ledger.write(lambda _: ("certificate", body))
    publish(ledger)
    ledger.write(lambda _: ("end", {"batch": "0002", "requests": ["R-3"], "why": "done"}))
    assert not Outcome((entry,), False).met
    return ledger


def test_everything_tells_of_it(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["id"]: row for row in ledger.index.requests()}
    assert rows["R-3"]["status"] == "carried out" and rows["R-3"]["outcome"].startswith(WORD)
    assert rows["R-1"]["status"] == "certified" and len(ledger.index.requests("carried out")) == 1
    words = ledger.certificate_file("R-3").with_suffix(".md").read_text()
    assert (
        words.splitlines()[2].startswith("**Not shown.**")
        and f"**{WORD}" in words
        and "| 3 | undecided |" in words
        and "contract met" not in words
    )
    assert json.loads(ledger.certificate_file("R-3").read_text())["body"]["shown"] is False
    model = ledger.folder / "runs/0001/03-R-3/model"
    card = (model / "README.md").read_text()
    assert f"| R-3 | 2 | {WORD}" in card and "unseen (undecided)" in card and yaml.safe_load(card.split("---\n")[1])
    place = ["--ledger", str(ledger.folder)]
    for arguments, said in (
        (["list", "--status", "carried out"], "carried out  "),
        (["show", "R-3"], "request R-3: carried out"),
        (["verify", "--model", str(model)], f"{WORD}, for R-3"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["requests", *arguments, *place])
        assert not ended.value.code and said in capsys.readouterr().out, arguments
    assert certified(ledger, model) == ["R-3"] and not verify(ledger).faults


def test_its_rows_are_gone_it_is_read_again_and_evidence_may_be_put_beside_it(ledger: Ledger) -> None:
    standing = ledger.read()[1].requests["R-3"]
    assert standing.issued and standing.holds and not standing.waits
    put(ledger, "R-3", evidence(ledger.folder, "R-3", claim={"refuted": False}))
    undecided = {"id": "R-3", "met": False, "state": "undecided", "clauses": []}
    ledger.write(lambda _: ("retest", {"batch": "0003", "requests": ["R-3"], "tests": [undecided]}))
    assert ledger.read()[1].requests["R-3"].holds
    ledger.write(
        lambda _: ("retest", {"batch": "0004", "requests": ["R-3"], "tests": [undecided | {"state": "missed"}]})
    )
    assert not ledger.read()[1].requests["R-3"].holds
    publish(ledger)
    ledger.add(Deletion("next", Selector(rows=(3,))))
    assert not verify(ledger).faults
