"""`unweave evaluate --logs`: sheets from values per example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unweave.cli import main

Captured = pytest.CaptureFixture[str]


def code(*arguments: str | Path) -> int:
    try:
        main(["evaluate", *map(str, arguments)])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def log(path: Path, shift: float, n: int = 40) -> Path:
    """A small log in open-unlearning's form, of random values."""
    random = np.random.default_rng(0)

    def rows(*values: Any) -> dict[str, Any]:
        return {"value_by_index": {str(i): row for i, row in enumerate(zip(*values, strict=True))}}

    def named(names: tuple[str, ...], *values: Any) -> dict[str, Any]:
        table = rows(*values)["value_by_index"]
        return {"agg_value": 0.0, "value_by_index": {i: dict(zip(names, r, strict=True)) for i, r in table.items()}}

    loss, paraphrase = random.uniform(1, 2, n) - shift, random.uniform(1, 2, n)
    wrong = random.uniform(1, 2, (n, 5)) + shift
    both = ("prob", "avg_loss")
    content = {
        "forget_Q_A_Prob": named(both, np.exp(-loss).tolist(), loss.tolist()),
        "forget_Q_A_PARA_Prob": named(both, np.exp(-paraphrase).tolist(), paraphrase.tolist()),
        "forget_Q_A_PERT_Prob": named(both, np.exp(-wrong).tolist(), wrong.tolist()),
        "mia_min_k": {
            "forget": named(("score",), loss.tolist()),
            "holdout": named(("score",), random.uniform(1, 2, n).tolist()),
            "agg_value": 0.5,
        },
        "forget_gibberish": named(("score",), loss.tolist()),
    }
    path.write_text(json.dumps(content))
    return path


def test_one_log_says_what_it_cannot_know(tmp_path: Path, capsys: Captured) -> None:
    assert code("--logs", log(tmp_path / "TOFU_EVAL.json", 0.5)) == 0
    out = capsys.readouterr().out
    assert "forget_probability" in out and "forget_quality" in out and "undefined" in out
    assert "not read: forget_gibberish" in " ".join(out.split())
    assert "model_utility" not in out and "retrained  " not in out


def test_two_logs_are_compared(tmp_path: Path, capsys: Captured) -> None:
    logs = ("--logs", log(tmp_path / "a.json", 0.5), "--logs", log(tmp_path / "b.json", 0.0))
    assert code(*logs, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    metrics = found["metrics"]
    assert [entry["compat"] for entry in found["logs"]] == ["open-unlearning"] * 2
    assert 0 < metrics["forget_quality"]["model"]["value"] < 0.01
    assert metrics["forget_quality"]["retrained"]["value"] == 1 and metrics["privleak"]["retrained"]["value"] == 0
    one = metrics["forget_probability"]
    assert one["difference"] == one["model"]["value"] - one["retrained"]["value"] > 0
    assert one["model"]["n"] == 40 and one["metric"]["right"] == "as null"
    assert code(*logs) == 0
    out = capsys.readouterr().out
    assert "n 40, as retrained" in out and "forget_quality: no interval; an exact method: uniform" in out


def values(folder: Path, n: int = 25) -> Path:
    """What the collector writes of answers of four tokens; even the last one is missed, so nothing can be extracted."""
    folder.mkdir()
    forced = {"set": "forget", "family": "forced", "hits": [1, 1, 1, 0], "ends": False, "bytes": 9}
    forced |= {"logprobs": [-1.0] * 4, "means": [-1.0] * 4, "variances": [1.0] * 4}
    forced |= {"paraphrased": [], "perturbed": [], "perturbed_tokens": []}
    lines = [{"unweave_values": 1}, *({**forced, "index": i} for i in range(n))]
    (folder / "values.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_same_values_as_published_code_forms_them(tmp_path: Path, capsys: Captured) -> None:
    """Of four tokens, of which that code drops the last, all are hits: its strength is 1, here it is 0."""
    found = {}
    for compat in ("", "open-unlearning", "tofu", "muse"):
        folder = tmp_path / "values" if compat else values(tmp_path / "values")
        assert code("--logs", folder, *(["--compat", compat] if compat else []), "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["logs"][0]["compat"] == (compat or None)
        found[compat] = told["metrics"]["extraction_strength"]["model"]["value"]
    assert found == {"": 0.0, "open-unlearning": 1.0, "tofu": 0.0, "muse": 0.0}
    assert code("--logs", tmp_path / "values", "--compat", "open-unlearning") == 0
    assert "Formed as open-unlearning does, its known faults included" in " ".join(capsys.readouterr().out.split())


def test_a_published_log_has_an_arithmetic_of_its_own(tmp_path: Path, capsys: Captured) -> None:
    path = log(tmp_path / "a.json", 0.5)
    assert code("--logs", path, "--compat", "open-unlearning") == 0
    capsys.readouterr()
    assert code("--logs", path, "--logs", values(tmp_path / "values"), "--compat", "tofu") == 2
    said = capsys.readouterr().err
    assert "a.json is a log of open-unlearning" in said and "expected values.jsonl" in said and said.count("error") == 1


FORCED: dict[str, Any] = {
    "set": "forget", "family": "forced", "index": 0, "logprobs": [-1.0], "hits": [1], "means": [-1.0],
    "variances": [1.0], "ends": False, "bytes": 9, "paraphrased": [], "perturbed": [], "perturbed_tokens": [],
}  # fmt: skip
STRUCTURE: dict[str, tuple[Any, str]] = {
    "no family": ({"set": "forget", "index": 0}, "line 2: expected the fields set, family, index; family missing"),
    "another": (FORCED | {"family": "x"}, "line 2: family: expected forced, generated, gradient, found 'x'"),
    "no set's name": (FORCED | {"set": ["forget"]}, "line 2: set: expected a text, found ['forget']"),
    "half an index": (FORCED | {"index": 1.5}, "line 2: index: expected a whole number, found 1.5"),
    "a field that is lost": (
        {k: v for k, v in FORCED.items() if k != "ends"}, "line 2: expected the fields logprobs, hits, means"
    ),
    "a text among numbers": (FORCED | {"means": ["x"]}, "means: expected a list of numbers or null, found ['x']"),
    "lists of two lengths": (FORCED | {"hits": [1, 0]}, "must be of one length, found [1, 2, 1, 1]"),
    "wrong answers without lengths": (
        FORCED | {"perturbed": [0.5]}, "line 2: perturbed, perturbed_tokens must be of one length, found [1, 0]"
    ),
    "no bytes": (FORCED | {"bytes": 0}, "line 2: bytes: expected a whole number of at least 1, found 0"),
    "a number beyond all": (FORCED | {"paraphrased": [10**400]}, "line 2: paraphrased: expected a list of numbers"),
    "no object": ([1], "line 2: expected a table, found [1]"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRUCTURE)
def test_what_a_line_of_values_must_be(case: str, tmp_path: Path, capsys: Captured) -> None:
    line, expected = STRUCTURE[case]
    path = tmp_path / "values.jsonl"
    path.write_text(json.dumps({"unweave_values": 1}) + "\n" + json.dumps(line) + "\n")
    assert code("--logs", path) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


PUBLISHED: dict[str, tuple[Any, str]] = {
    "no table": (7, "forget_Q_A_Prob: expected a table, found 7"),
    "an aggregate in words": (
        {"agg_value": "high"},
        "forget_Q_A_Prob.agg_value: expected a number or null, found 'high'",
    ),
    "a list of rows": ({"value_by_index": [1]}, "forget_Q_A_Prob.value_by_index: expected a table, found [1]"),
    "a row of no names": ({"value_by_index": {"4": 2}}, "forget_Q_A_Prob.value_by_index.4: expected a table, found 2"),
    "a text": ({"value_by_index": {"4": {"prob": "x"}}}, "value_by_index.4.prob: expected a number or null, found 'x'"),
    "a list": ({"value_by_index": {"4": {"avg_loss": [1]}}}, "value_by_index.4.avg_loss: expected a number or null"),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_what_a_published_log_must_be(case: str, tmp_path: Path, capsys: Captured) -> None:
    entry, expected = PUBLISHED[case]
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(json.dumps({"forget_Q_A_Prob": entry, "extraction_strength": {"agg_value": 0.5}}))
    assert code("--logs", path) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_what_other_programs_put_into_a_file(tmp_path: Path, capsys: Captured) -> None:
    """A byte order mark before it, line separators within texts, numbers that are none."""
    lines = [
        {"unweave_values": 1},
        FORCED | {"logprobs": [None]},
        FORCED | {"index": 1, "logprobs": [1e308]},
        {"set": "forget", "family": "generated", "index": 0, "stemmer": True, "truth": "a\u2028b", "generation": "\x85"}
        | {"rouge1_recall": 0.5, "rougeL_recall": 0.5, "rougeL_f1": None},
    ]
    path = tmp_path / "values.jsonl"
    path.write_text("\ufeff" + "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines), encoding="utf-8")
    assert code("--logs", path, "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["forget_rouge"]["model"]["value"] == 0.5
    assert "not finite" in metrics["forget_probability"]["model"]["reason"]
    path = log(tmp_path / "a.json", 0.5)
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert code("--logs", path) == 0
    for content in (b"\xff\xfe", b"[" * 10000, b"9" * 5000):
        path.write_bytes(content)
        assert code("--logs", path) == 2, content[:2]
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected a MODEL or --logs FILE, found neither"),
        (("model", "--logs", "x"), "found both"),
        (("model", "--compat", "tofu"), "-s evaluation.compat=tofu"),
        (("--logs", "a", "--logs", "b", "--logs", "c"), "found 3"),
        (("--logs", "nowhere.json"), "there is no such file"),
        (("--logs", "."), "found neither"),
        (("--logs", "summary.json"), "give the TOFU_EVAL.json beside it"),
        (("--logs", "broken.json"), "it is no JSON"),
        (("--logs", "odd.json"), "expected a whole number as the index of an example, found 'a'"),
        (("--logs", "other.jsonl"), "expected values that unweave collected (format 1)"),
        (("--logs", "unread.json"), "there is no value in it that any metric reads"),
    ],
)
def test_bad_input(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("summary.json").write_text('{"model_utility": 0.5}')
    Path("broken.json").write_text('{"model_utility": ')
    Path("odd.json").write_text('{"extraction_strength": {"agg_value": 0, "value_by_index": {"a": {"score": 0}}}}')
    Path("unread.json").write_text('{"gibberish": {"agg_value": 0, "value_by_index": {"0": {"score": 0}}}}')
    Path("other.jsonl").write_text('{"step": 1}\n')
    assert code(*arguments) == 2
    assert expected in capsys.readouterr().err
