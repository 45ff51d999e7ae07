"""`unweave metrics`: what every score is."""

from __future__ import annotations

import json

import pytest

from unweave.audit.every_metric import EVERY, METRICS
from unweave.cli import main

Captured = pytest.CaptureFixture[str]


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["metrics", *arguments])
    return int(stopped.value.code or 0)


def test_all_scores_fit_a_terminal(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert code() == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert set(METRICS) <= set(rows), "every name is whole, on a line of its own"
    assert "as retrained" in rows["forget_rouge"] and "0 to 1" in rows["forget_rouge"]
    assert (
        "prompts" in rows["forget_rouge"] and "-100 and more" in rows["privleak"] and "any" in rows["recovered_share"]
    )
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", ["MIA_AUC", "forget_quality", "klom"])
def test_one_in_full(name: str, capsys: Captured) -> None:
    assert code(name) == 0
    told = " ".join(capsys.readouterr().out.split())
    for title in ("what", "right", "range", "repeated", "needs", "undefined", "null level"):
        assert f" {title} " in told
    assert METRICS[name].definition in told


def test_json_and_unknown_names(capsys: Captured) -> None:
    assert code("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found] == list(METRICS)
    distinct = {(name, metric.definition) for every in EVERY.values() for name, metric in every.items()}
    assert len(found) == len(distinct), "no name stands for two scores"
    assert all(each[key] for each in found for key in ("definition", "right", "replicate", "needs", "undefined_when"))
    assert code("forget_qualty") == 2
    assert "Did you mean 'forget_quality'?" in capsys.readouterr().err


def test_of_a_method_what_decides_stands_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["methods", "hamu_q"])
    told = capsys.readouterr().out
    assert told.index("ratio: 0.1") < told.index("rate: null")
