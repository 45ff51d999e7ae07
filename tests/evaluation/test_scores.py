from __future__ import annotations

import json
import time

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from tests.evaluation.conftest import Make
from unweave.evaluation import Outputs, Score, score, score_outputs
from unweave.evaluation.intervals import proportion_interval
from unweave.evaluation.scores import SHEET as METRICS
from unweave.tasks import Vision

SHEET = [
    "UA",
    "FA",
    "RA",
    "TA",
    "forget_loss",
    "retain_loss",
    "test_loss",
    "MIA_AUC",
    "MIA_TPR",
    "MIA_FPR",
    "MIA_confidence",
    "MIA_confidence_AUC",
    "MIA_confidence_TPR",
]
ATTACKS = SHEET.index("MIA_AUC")


def sheets(make: Make, n_test: int = 2400) -> dict[str, Score]:
    return score_outputs(make(100, 0, skill=0.5), make(700, 1, skill=2.0), make(n_test, 2))


def test_the_sheet_is_complete_and_bounded(make: Make) -> None:
    scores = sheets(make)
    assert list(scores) == SHEET
    for name, s in scores.items():
        assert s.name == name and s.definition and s.reason == "" and s.n > 0
        assert s.value is not None and s.low is not None and s.high is not None
        assert s.low <= s.value <= s.high
        assert s.unit == ("nats" if name.endswith("loss") else "share")
        assert s.unit == "nats" or (s.low >= 0 and s.high <= 1)


def test_accuracies_and_losses_are_counts_and_means(make: Make) -> None:
    forget, retain, test = make(100, 0, skill=0.5), make(700, 1, skill=2.0), make(1200, 2)
    scores = score_outputs(forget, retain, test)
    for name, outputs in (("FA", forget), ("RA", retain), ("TA", test)):
        right = int((outputs.logits.argmax(1) == outputs.labels).sum())
        s = scores[name]
        assert s.value == pytest.approx(right / len(outputs)) and s.n == len(outputs)
        assert (s.low, s.high) == proportion_interval(right, len(outputs))
    ua, fa = scores["UA"], scores["FA"]
    assert (ua.value, ua.low, ua.high) == pytest.approx((1 - fa.value, 1 - fa.high, 1 - fa.low))
    expected = nn.functional.cross_entropy(retain.logits, retain.labels)
    assert scores["retain_loss"].value == pytest.approx(float(expected), rel=1e-5)


def test_a_class_request_leaves_the_class_out_of_the_test_accuracy(make: Make) -> None:
    forget = make(60, 0, labels=torch.full((60,), 2))
    retain = make(300, 1, labels=torch.tensor([0, 1, 3]).repeat(100))
    test = make(400, 2, skill=3.0)
    test.logits[test.labels == 2] = torch.tensor([9.0, 0, 0, 0])
    scores = score_outputs(forget, retain, test)
    others = test.labels != 2
    assert list(scores) == [*SHEET[:ATTACKS], "TA_forgotten", *SHEET[ATTACKS:]]
    assert scores["TA_forgotten"].value == 0.0 and scores["TA_forgotten"].n == int((~others).sum())
    assert scores["TA"].n == scores["test_loss"].n == int(others.sum())
    assert scores["TA"].value == pytest.approx(float((test.logits.argmax(1) == test.labels)[others].double().mean()))
    assert "without a class that is forgotten whole" in scores["TA"].definition
    one_left = Outputs(torch.cat([retain.logits, forget.logits[:1]]), torch.cat([retain.labels, forget.labels[:1]]))
    assert "TA_forgotten" not in score_outputs(forget, one_left, test)


def test_a_class_that_the_test_set_lacks_is_undefined_not_zero(make: Make) -> None:
    forget, other = make(60, 0, labels=torch.full((60,), 2)), torch.tensor([0, 1, 3]).repeat(50)
    scores = score_outputs(forget, make(150, 1, labels=other), make(150, 2, labels=other))
    assert scores["TA_forgotten"].value is None and "there are 0" in scores["TA_forgotten"].reason
    assert scores["MIA_AUC"].value is None and scores["TA"].value is not None


def test_small_sets_refuse_membership_and_say_why(make: Make) -> None:
    scores = score_outputs(make(19, 0), make(300, 1), make(500, 2))
    assert {s.name for s in scores.values() if s.value is None} == set(SHEET[ATTACKS:])
    assert "at least 20 forget examples; there are 19" in scores["MIA_AUC"].reason
    enough = score_outputs(make(20, 0), make(300, 1), make(500, 2))
    assert [s.name for s in enough.values() if s.value is None] == ["MIA_TPR", "MIA_FPR", "MIA_confidence_TPR"]
    assert "at least 1000 held-out examples; there are 500" in enough["MIA_TPR"].reason
    assert (enough["MIA_TPR"].low, enough["MIA_TPR"].high) == (None, None)


def test_a_diverged_model_has_no_scores(make: Make) -> None:
    forget, retain, test = make(100, 0), make(300, 1), make(1200, 2)
    for outputs in (forget, retain, test):
        outputs.logits[3] = torch.nan
    scores = score_outputs(forget, retain, test)
    assert list(scores) == SHEET
    for s in scores.values():
        assert s.value is None and "not finite: the model diverged" in s.reason


def test_scores_survive_json(make: Make) -> None:
    for scores in (sheets(make), sheets(make, n_test=50)):
        text = json.dumps({name: s.brief() for name, s in scores.items()}, allow_nan=False)
        read = json.loads(text)
        assert read == {name: s.brief() for name, s in scores.items()} and list(read) == list(scores)
        assert all(fields["n"] == sum(scores[name].sizes.values()) for name, fields in read.items())


def test_the_same_seed_gives_the_same_sheet_in_any_order(make: Make) -> None:
    splits = [make(100, 0, skill=0.5), make(300, 1, skill=2.0), make(500, 2)]
    shuffled = [Outputs(o.logits.flip(0), o.labels.flip(0)) for o in splits]
    first, again = score_outputs(*splits), score_outputs(*shuffled)
    assert first == score_outputs(*splits)
    for name, s in again.items():
        assert s.brief() == pytest.approx(first[name].brief(), abs=1e-9)


def test_a_score_is_finite_or_has_a_reason() -> None:
    metric, sizes = METRICS["UA"], {"examples": 10}
    for fields in [(float("nan"), None, None), (1.0, float("inf"), None)]:
        with pytest.raises(ValueError, match="finite or None"):
            Score(metric, sizes, *fields)
    with pytest.raises(ValueError, match="either a value or a reason"):
        Score(metric, sizes, None)
    with pytest.raises(ValueError, match="either a value or a reason"):
        Score(metric, sizes, 0.5, reason="why")


def test_the_whole_sheet_on_digits_is_quick() -> None:
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32)[:, None] / 16, torch.tensor(labels)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    parts = {"forget": slice(0, 130), "retain": slice(130, 1297), "test": slice(1297, None)}
    splits = {name: TensorDataset(x[part], y[part]) for name, part in parts.items()}
    score(model, Vision(), **splits)  # imports
    start = time.perf_counter()
    scores = score(model, Vision(), **splits)
    assert time.perf_counter() - start < 2  # 0.1 s alone; a busy machine is slower
    assert list(scores) == SHEET and scores["RA"].n == 1167
