"""No number is printed without its n, its interval and its null level, at 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from unweave.commands.tables import evidence_table, score_table
from unweave.evaluation.metric import Metric, Null, Score

METRIC = Metric("x", "of x", "share", "as null", (0, 1), "example", "examples", "never")
SIZES = {"forget examples": 132, "holdout examples": 51}


def printed(part: Any, width: int = 80) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as caught:
        console.print(part)
    return caught.get().splitlines()


def test_evidence_has_all_of_it_or_a_reason() -> None:
    whole = Score(METRIC, SIZES, 0.512, 0.4, 0.6, "DeLong", Null(0.5, 0.41, 0.59, "counted"), 0.7)
    bare = Score(METRIC, {"unlearned runs": 3, "retrained runs": 8}, -0.0, null=Null(0, -0.0, 0.1, "counted"))
    none = Score(METRIC, SIZES, None, reason="It needs 20.")
    rows = {"a": whole, "also a": whole, "b": bare, "c": none, "d": none}
    lines = printed(
        evidence_table("score", {n: e.as_dict() for n, e in rows.items()}, lacking={"e": "It was not asked for."})
    )
    cells = {line.split()[0]: " ".join(line.split()) for line in lines}
    assert cells["a"] == "a 51.2 % [40.0, 60.0] [41.0, 59.0] 0.7 132/51"
    assert cells["b"] == "b 0.0 % – [0.0, 10.0] – 3/8" and cells["c"].startswith("c undefined")
    notes = [line.rstrip() for line in lines[-5:]]
    assert notes == [
        "c; d: undefined. It needs 20.",
        "e: undefined. It was not asked for.",
        "n: forget examples / holdout examples",
        "n of b: unlearned runs / retrained runs",
        "no interval: b. The null band says what chance gives",
    ]


def score(name: str, value: float | None, unit: str = "share", *, wide: bool = True) -> dict[str, Any]:
    ends = (None, None) if value is None or not wide else (value - 0.1, value + 0.1)
    reason = "" if value is not None else "It needs more."
    metric = Metric(name, "of it", unit, "as null", (0, 1), "example", "examples", "never")
    return Score(metric, {} if value is None else {"examples": 450}, value, *ends, reason=reason).brief()


@pytest.mark.parametrize("models", [("unlearned",), ("original", "unlearned", "retrained", "retrained again")])
def test_scores_have_n_interval_and_direction(models: tuple[str, ...]) -> None:
    sheet = {
        "MIA_confidence": score("MIA_confidence", 0.5),
        "TA": score("TA", 0.9),
        "MIA_TPR": score("MIA_TPR", None),
        "forget_quality": score("forget_quality", 3.9e-22, "p-value", wide=False),
        "retain_loss": score("retain_loss", 12.3456, "nats"),
    }
    gap = {"average_gap": score("average_gap", 36.74, "points", wide=False)}
    gaps = {name: gap for name in models if name != "retrained"} if len(models) > 1 else {}
    lines = printed(score_table(dict.fromkeys(models, sheet), gaps))
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: lines[i : i + 2] for i, line in reversed(list(enumerate(lines))) if line.strip()}
    value, under = rows["MIA_confidence"]
    assert value.count("50.0 %") == len(models) and under.count("[40.0, 60.0]") == len(models)
    assert under.startswith("n 450, as retrained") and rows["TA"][1].startswith("n 450, higher")
    assert "3.9e-22" in rows["forget_quality"][0] and "no interval" in rows["forget_quality"][1]
    assert "12.3" in rows["retain_loss"][0]
    told = " ".join(" ".join(lines).split())
    assert "MIA_TPR: undefined. It needs more." in told and told.count("It needs more") == 1
    assert "forget_quality: no interval; an exact method: uniform on [0, 1]" in told
    assert ("36.7 points" in told) == bool(gaps) and ("There is none here" in told) == (len(models) == 1)
    assert ("that of the second retrained model" in told) == bool(gaps)


def test_the_standard_table_shows_what_decides_and_counts_the_rest() -> None:
    names = {"TA": 0.9, "UA": 0.1, "MIA_TPR": None, "MIA_confidence": 0.5, "MIA_AUC": None}
    sheet = {name: score(name, value) for name, value in names.items()}
    lines = printed(score_table({"unlearned": sheet, "retrained": sheet}, {}, everything=False))
    assert [line.split()[0] for line in lines[1:5:2]] == ["TA", "UA"]
    told = " ".join(" ".join(lines).split())
    assert (
        "2 more scores, 1 of them undefined: --all shows them" in told and "MIA_AUC: undefined. It needs more." in told
    )
    assert "MIA_confidence" not in told
    own = {"my_score": score("my_score", 0.5), "other": score("other", None)}
    told = " ".join(printed(score_table({"unlearned": own}, {}, everything=False)))
    assert "my_score" in told and "other: undefined. It needs more." in told and "more scores" not in told, (
        "of a task of one's own: all that there is"
    )
    assert "evaluation.reference" in " ".join(told.split()), "what gives a model of texts its null levels"
