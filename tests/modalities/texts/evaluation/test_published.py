"""The published logs of Llama-3.2-1B-Instruct give their published aggregates through our formulas, to 1e-12."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unweave.modalities.texts.evaluation import Log, log_scores, read_log
from unweave.modalities.texts.evaluation.metrics import ROWS
from unweave.modalities.texts.evaluation.numbers import compressed, option_probability, probability, rouge, truth_ratio

MODELS = ("full", "retain90")
SETS = ("forget", "retain", "real_authors", "world_facts")
EXACT = 1e-12
Find = Callable[[str], Path]


@pytest.fixture(scope="module")
def logs(tofu: Find) -> dict[str, Log]:
    return {m: read_log(tofu(f"logs/Llama-3.2-1B-Instruct/{m}/TOFU_EVAL.json"), name=m) for m in MODELS}


def test_every_published_aggregate(logs: dict[str, Log]) -> None:
    """The retrained model was scored without a retrained log: no forget quality, and PrivLeak against 0.5."""
    scores = {"full": log_scores(logs["full"], logs["retain90"]), "retain90": log_scores(logs["retain90"])}
    compared, worst = 0, 0.0
    for model, log in logs.items():
        for metric in ROWS:
            if metric.published in log.published:
                value = scores[model][metric.name].value
                assert value is not None, metric.name
                error = abs(value - log.published[metric.published]) / max(1.0, abs(log.published[metric.published]))
                assert error < EXACT, f"{model} {metric.name}: {value} against {log.published[metric.published]}"
                compared, worst = compared + 1, max(worst, error)
    assert compared == 23 + 21
    print(f"{compared} aggregates, worst error {worst:.1e}")
    forget_quality = scores["full"]["forget_quality"].value
    assert forget_quality == pytest.approx(logs["full"].published["forget_quality"], rel=EXACT)  # 3.9e-22
    unseen = set(logs["full"].published) - {m.published for m in ROWS}
    assert unseen == {
        "forget_Q_A_PARA_Prob", "forget_Q_A_PERT_Prob", "retain_Q_A_PARA_Prob", "retain_Q_A_PERT_Prob",
        "ra_Q_A_Prob", "ra_Q_A_PERT_Prob", "wf_Q_A_Prob", "wf_Q_A_PERT_Prob",
    }  # fmt: skip


def test_the_means_that_only_enter_other_metrics(logs: dict[str, Log]) -> None:
    short = {"forget": "forget", "retain": "retain", "real_authors": "ra", "world_facts": "wf"}
    kinds = {"prob": "Prob", "paraphrased_prob": "PARA_Prob", "perturbed_prob": "PERT_Prob"}
    compared = 0
    for log in logs.values():
        for group in SETS:
            for column, kind in kinds.items():
                if log.has(group, column):
                    mean = log.read(group, column)[0].mean()
                    assert abs(mean - log.published[f"{short[group]}_Q_A_{kind}"]) < EXACT
                    compared += 1
    assert compared == 20


def test_the_summary_beside_each_log(logs: dict[str, Log], tofu: Find) -> None:
    names = {m.published: m.name for m in ROWS}
    compared = 0
    for model, other in (("full", logs["retain90"]), ("retain90", None)):
        scores = log_scores(logs[model], other)
        summary = json.loads(tofu(f"logs/Llama-3.2-1B-Instruct/{model}/TOFU_SUMMARY.json").read_text())
        for key, value in summary.items():
            assert scores[names[key]].value == pytest.approx(value, rel=EXACT, abs=EXACT), key
            compared += 1
    assert compared == 13 + 11


def test_every_per_example_value_that_others_determine(logs: dict[str, Log], tofu: Find) -> None:
    """Truth ratios, option probabilities, zlib scores and probabilities of single examples."""
    holdout = [json.loads(line)["answer"] for line in tofu("holdout10.jsonl").read_text().splitlines()]
    compared = 0
    for log in logs.values():
        for group in SETS:
            truth = "paraphrased_loss" if log.has(group, "paraphrased_loss") else "loss"
            correct, wrong, ratios = log.read(group, truth, "perturbed_loss", "truth_ratio")
            np.testing.assert_allclose(truth_ratio(correct, wrong, log.compat), ratios, rtol=EXACT, atol=0)
            loss, single = log.read(group, "loss", "prob")
            np.testing.assert_allclose([probability(x) for x in loss], single, rtol=2e-7)  # they are float32
            compared += len(ratios) + len(loss)
        for group in SETS[2:]:
            p, wrong, published = log.read(group, "prob", "perturbed_prob", "option_prob")
            np.testing.assert_allclose(option_probability(p, wrong, log.compat), published, rtol=EXACT)
            compared += len(p)
        loss, scores = log.read("holdout", "mia_loss", "mia_zlib")
        np.testing.assert_allclose(loss / [compressed(text) for text in holdout], scores, rtol=EXACT)
        compared += len(loss)
    assert compared == 2 * (2 * 1017 + 217 + 400)


def test_rouge_of_every_generation(logs: dict[str, Log]) -> None:
    compared = 0
    for log in logs.values():
        for group in SETS:
            columns = log.values[group]
            for index, text in columns["generation"].items():
                found = rouge(str(columns["truth"][index]), str(text))
                for name, value in found.items():
                    assert value == columns[name][index], f"{log.name} {group} {index} {name}"
                    compared += 1
    assert compared == 2 * 1017 * 3


def test_without_their_arithmetic_the_numbers_move_a_little(logs: dict[str, Log]) -> None:
    """The 1e-10 in their denominators: up to 1e-6 in the truth ratio of world facts, and PrivLeak by 1e-8."""
    exact = {m: Log(m, log.values) for m, log in logs.items()}
    one, other = log_scores(logs["full"], logs["retain90"]), log_scores(exact["full"], exact["retain90"])
    moved = {n: abs(one[n].value - other[n].value) for n in one}  # type: ignore[operator]
    assert 1e-7 < moved["world_facts_truth_ratio"] < 1e-5 and 0 < moved["privleak"] < 1e-5
    assert moved["forget_probability"] == 0 and max(moved.values()) < 1e-4
    assert log_scores(exact["retain90"])["privleak"].value is None


def test_intervals_and_sizes(logs: dict[str, Log]) -> None:
    scores = log_scores(logs["full"], logs["retain90"])
    assert scores
    for score in scores.values():
        assert score.low is None or (score.high is not None and score.value is not None)
        assert score.low is None or score.low <= score.value <= score.high  # type: ignore[operator]
    sizes = {name: scores[name].n for name in ("forget_probability", "mia_loss", "model_utility", "forget_quality")}
    assert sizes == {"forget_probability": 400, "mia_loss": 800, "model_utility": 100, "forget_quality": 400}
