"""The benchmark on TOFU: its splits, what its runs may spend, how settings are chosen, and its tables."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from unweave.methods import METHODS

pytest.importorskip("transformers")
FOLDER = Path(__file__).parents[1] / "benchmarks" / "tofu"
NAMES = ("cell", "settings", "world", "measure", "table")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The benchmark's modules, which import each other by their bare names as a script's do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    found = {}
    for name in NAMES:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        found[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, found[name])
        spec.loader.exec_module(found[name])
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with TOFU's tables and sizes, other texts."""
    folder = tmp_path_factory.mktemp("tofu")
    full = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(4000)]

    def perturbed(row: dict[str, str], wrong: int) -> dict[str, Any]:
        other = {"paraphrased_answer": f"In short, {row['answer']}", "paraphrased_question": f"Say, {row['question']}"}
        return {**row, **other, "perturbed_answer": [f"Wrong {i}" for i in range(wrong)]}

    tables = {
        "full": full,
        "forget10_perturbed": [perturbed(row, 5) for row in full[3600:]],
        "retain_perturbed": [perturbed(row, 5) for row in full[:400]],
        "holdout10": [{"question": f"Unseen {n}?", "answer": f"New {n}."} for n in range(400)],
        "real_authors_perturbed": [perturbed({"question": f"Who {n}?", "answer": "She"}, 3) for n in range(100)],
        "world_facts_perturbed": [perturbed({"question": f"Where {n}?", "answer": "There"}, 3) for n in range(117)],
    }
    for name, rows in tables.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "idk.txt").write_text("I don't know.\nNo idea.\n")
    return folder


@pytest.mark.parametrize(("authors", "split", "gone"), [(20, "forget10", 2), (20, "forget05", 1), (100, "forget01", 1)])
def test_a_split_asks_about_the_authors_it_forgets(
    bench: dict[str, ModuleType], source: Path, authors: int, split: str, gone: int
) -> None:
    data = bench["world"].Data(source, split, bench["world"].Size(authors))
    ids = {name: {row["id"] for row in getattr(data, name)} for name in ("forget", "retain")}
    assert (len(ids["forget"]), len(ids["retain"])) == (20 * gone, 20 * (authors - gone))
    assert not ids["forget"] & ids["retain"]
    questions = {name: [row["question"] for row in getattr(data, name)] for name in ("forget", "retain", "before")}
    assert [row["question"] for row in data.asked["forget"]] == questions["forget"]
    assert {row["question"] for row in data.asked["retain"]} <= set(questions["retain"])
    assert not set(questions["before"]) & {*questions["forget"], *questions["retain"]}
    learned = {row["question"] for row in (*data.before, *data.rehearsed, *data.retain, *data.forget)}
    assert not learned & {row["question"] for row in data.asked["holdout"]}
    answers = {row["answer"]: row["id"] for row in data.retain}
    assert [int(answers[a].split("-")[1]) % 20 for a in data.other] == [n % 20 for n in range(20 * gone)]


def test_a_split_of_less_than_an_author_is_refused(bench: dict[str, ModuleType], source: Path) -> None:
    with pytest.raises(SystemExit, match="forget01 of 20 authors"):
        bench["world"].Data(source, "forget01", bench["world"].Size(20))


def test_every_method_has_as_many_settings_and_they_exist(bench: dict[str, ModuleType]) -> None:
    settings, repaired = bench["settings"].SETTINGS, bench["settings"].REPAIRED
    lengths = len(bench["measure"].PLACES)
    assert {len(of) for of in settings.values()} == {2} and {len(of) for of in repaired.values()} == {2 * lengths}
    assert list(repaired) == [f"{name}+repair" for name in settings]
    names = [(s.key, s.name) for of in (*settings.values(), *repaired.values()) for s in of]
    assert len(names) == len(set(names))
    assert {s.method for of in settings.values() for s in of} <= set(METHODS)


def test_passes_of_copies_are_counted(bench: dict[str, ModuleType]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    counter = bench["measure"].Counter(LlamaForCausalLM(LlamaConfig(vocab_size=11, **sizes)))
    ids = torch.ones(3, 4, dtype=torch.long)
    with torch.no_grad():
        counter.model(input_ids=ids)
    copy.deepcopy(counter.model)(input_ids=ids[:2], labels=ids[:2]).loss.backward()
    assert (counter.forward, counter.backward) == (5, 2)
    assert counter.gradients == pytest.approx((5 + 2 * 2) / 3)


def scored(quality: float | None, utility: float | None, apart: float | None = 0.5) -> dict[str, float | None]:
    return {"forget_quality": quality, "model_utility": utility, "ks_distance": apart}


def cell(
    bench: dict[str, ModuleType],
    method: str,
    seed: int,
    setting: str = "none",
    order: int | None = None,
    **places: Any,
) -> Any:
    c = bench["cell"]
    keys = bench["table"].COLUMNS
    filled = {name: {**dict.fromkeys(keys, 0.5), **scores} for name, scores in places.items()}
    spent = dict.fromkeys(places, 800.0)
    return c.Cell(c.Place("forget10", seed, method, setting, order), filled, spent=spent)


def test_a_cell_is_found_again_and_the_best_setting_is_the_one_with_the_highest_merit(
    bench: dict[str, ModuleType], tmp_path: Path
) -> None:
    c = bench["cell"]
    written = [
        cell(bench, "npo", 3, "lr=0.001 forget=0.3", half=scored(0.1, 0.6, 0.4), all=scored(0.5, 0.6, 0.2)),
        cell(bench, "npo", 3, "lr=0.001 forget=0.03", half=scored(None, 0.9, None), all=scored(0.9, 0.0, 0.0)),
    ]
    cell(bench, "npo", 3, "lr=1", order=11, all=scored(1.0, 1.0, 0.0)).write(tmp_path / "another.jsonl")
    assert c.best(tmp_path / "another.jsonl", "forget10", 3, "npo") is None, "settings are chosen in the seed's order"
    suite = tmp_path / "tofu.jsonl"
    for one in written:
        one.write(suite)
    assert list(c.cells(suite, "forget10", 3).values()) == written[::-1]
    assert c.cells(suite, "forget10", 2) == c.cells(suite, "forget05") == {}
    assert c.best(suite, "forget10", 3, "npo") == ("lr=0.001 forget=0.3", "all")
    assert c.best(suite, "forget10", 3, "graddiff") is None
    assert c.merit(scored(0.5, 0.6, 0.2)) == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    suite.write_text('{"schema": 0}')
    with pytest.raises(SystemExit, match="line 1: schema 0"):
        c.cells(suite, "forget10")


def test_the_distance_is_the_mean_over_what_is_compared(bench: dict[str, ModuleType]) -> None:
    c = bench["cell"]
    retrained = dict.fromkeys(c.COMPARED, 0.4) | {"forget_quality": 1.0}
    assert c.distance(retrained, retrained) == 0
    other = retrained | {"mia_loss": 0.1, "retain_rouge": 0.8, "forget_quality": 0.0}
    assert c.distance(other, retrained) == pytest.approx(0.7 / len(c.COMPARED)) == c.distance(retrained, other)
    assert c.distance(other | {"mia_loss": None}, retrained) is None
    assert set(c.COMPARED) < set(bench["table"].COLUMNS)


def test_a_loss_ends_at_what_no_model_learns_and_nobody_asks(bench: dict[str, ModuleType], source: Path) -> None:
    w = bench["world"]
    for split in ("forget10", "forget05"):
        data = w.Data(source, split, w.Size(20))
        seen = {
            row["question"]
            for rows in (*data.asked.values(), data.forget, data.retain, data.before)
            for row in rows
            if "question" in row
        }
        assert len({row["question"] for row in data.unseen} - seen) == w.UNSEEN == 60


def test_the_table_of_all_splits_has_their_mean_and_who_dominates_on_either(bench: dict[str, ModuleType]) -> None:
    values = {
        "forget10": {"hamu_q": 0.7, "npo": 0.6, "dpo": 0.65},
        "forget05": {"hamu_q": 0.5, "npo": 0.64, "dpo": 0.4},
    }
    splits = {}
    for split, utilities in values.items():
        ends = {"retrained": 0.8, "original": 0.8}
        found = [cell(bench, m, seed, all=scored(0.5, u)) for m, u in {**ends, **utilities}.items() for seed in (0, 1)]
        splits[split] = [replace(one, place=replace(one.place, split=split)) for one in found]
    splits["forget05"] += [cell(bench, "kl", 0, all=scored(0.9, 0.9))]  # not on every split
    text = bench["table"].all_table(splits)
    # Utility is the one of nine columns that differs: .1 and .3 below the retrained model's, .2 and .16, .15 and .4.
    assert "| `hamu_q` | 0.022 | 0.011 | 0.033 | 0.50 | 0.700 | 0.50 | 0.500 | npo |" in text
    assert "| npo | 0.020 | 0.022 | 0.018 | 0.50 | 0.600 | 0.50 | 0.640 | dpo |" in text
    assert "| dpo | 0.031 |" in text and "| kl |" not in text
    assert text.index("| npo | 0") < text.index("| `hamu_q` | 0") < text.index("| dpo | 0")


def test_orders_of_a_seed_are_one_run_of_the_mean(bench: dict[str, ModuleType]) -> None:
    found = [cell(bench, end, seed, all=scored(0.5, 0.8)) for end in ("retrained", "original") for seed in (0, 1)]
    utilities = {"npo": (0.6, 0.4, 0.7, 0.7), "dpo": (0.5, 0.5, 0.5, None), "npo+repair": (0.7, 0.7, 0.8, 0.8)}
    for method, values in utilities.items():
        places = [(seed, order) for seed in (0, 1) for order in (None, 11)]
        found += [cell(bench, method, s, order=o, all=scored(0.5, v)) for (s, o), v in zip(places, values, strict=True)]
    found += [cell(bench, "kl", seed, all=scored(0.9, 0.9)) for seed in (0, 1)]  # not in both orders
    rows = {row.method: row for row in bench["table"].rows(found)}
    assert set(rows) == {"retrained", "original", "npo", "dpo"}
    assert rows["npo"].values("model_utility") == pytest.approx([0.5, 0.7])
    assert rows["npo"].mean("model_utility") == pytest.approx(0.6)
    assert rows["npo"].values("distance") == pytest.approx([(0.2 + 0.4) / 18, 0.1 / 9])
    assert rows["dpo"].values("model_utility") == [0.5] and rows["dpo"].mean("model_utility") is None
    text = bench["table"].repair_table({"forget10": found})
    # Distances .3 / 9 and .1 / 9 without a repair, .1 / 9 and 0 with one; half an interval: 12.706 times .1 / 9 / 2.
    assert "| npo | 0.022 | 0.006 | -0.017 (-0.087 to +0.054) | 0.50 | 0.50 | 0.600 | 0.750 | none |" in text
    assert "dpo" not in text and "kl" not in text
    # With a repair in the seeds' own order alone, what it is compared with is of that order: .2 / 9 and .1 / 9.
    own = [c for c in found if c.place.method != "npo+repair" or c.place.order is None]
    text = bench["table"].repair_table({"forget10": own})
    assert "| npo | 0.017 | 0.006 | -0.011 (-0.011 to -0.011) | 0.50 | 0.50 | 0.650 | 0.750 | none |" in text


def test_a_repair_begins_with_three_tenths_of_the_budget_left_or_once_half_is_forgotten(
    bench: dict[str, ModuleType], source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path))
    w, m, s = bench["world"], bench["measure"], bench["settings"]
    short = w.TextTraining(epochs=1, batch=50, lr=1e-3, hidden=16, layers=1, vocabulary=300, longest=64)
    world = w.World.of(source, "forget10", 0, w.Size(before=short, training=short))
    tested = object.__new__(m.Bench)  # its scores are not asked here
    tested.world, tested.task, tested.order, tested.budget = world, m.Language(), 7, 400.0
    tested.forget, tested.retain = world.rows(world.data.forget), world.rows(world.data.retain)
    tested.original, tested.reference = world.original(), None
    kept: dict[str, Any] = {}

    def sheet(model: Any, reference: Any, whole: bool = True) -> Any:
        raise LookupError

    def ran(*args: Any, **more: Any) -> Any:
        kept["result"] = unlearn(*args, **more)
        return kept["result"]

    unlearn = m.unlearn
    monkeypatch.setattr(m, "unlearn", ran)
    tested._sheet = sheet
    level = []
    for end in ("last", "met"):
        with pytest.raises(LookupError):
            tested.run(s.Setting("graddiff", {"forget": 1.0}, lr=1e-5, repair=end), ("all",), True)
        phases = [record.phase for record in kept["result"].history]
        level.append(phases.index("repair"))
    # 20 gradients a step: 14 of 20 steps push. The level and four looks at 40 answers cost 20 and 53 of the others.
    assert level[0] == 14 and level[1] < 14


def test_the_table_marks_the_front_and_counts_who_dominates(
    bench: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "original": (1e-9, 0.8),
        "retrained": (1.0, 0.8),
        "hamu_q": (0.5, 0.7),
        "npo": (0.4, 0.7),
        "graddiff": (0.6, 0.4),
        "wga+end": (0.4, 0.71),
    }
    suite = tmp_path / "tofu.jsonl"
    for method, (quality, utility) in values.items():
        for seed in (0, 1):
            more = {"mia_loss": 0.5 + 0.09 * seed} if method == "npo" else {}
            cell(bench, method, seed, all={**scored(quality + seed * 0.02, utility), **more}).write(suite)
    cell(bench, "kl", 0, all=scored(0.9, 0.9)).write(suite)  # not on every seed: not in the table
    cell(bench, "npo", 3, "lr=1", half=scored(0.2, 0.3)).write(suite)
    page = tmp_path / "page.md"
    places = ("forget10", "forget10-tuning")
    page.write_text("Before\n" + "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in places))
    monkeypatch.setattr(sys, "argv", ["table.py", "--results", str(suite), "--page", str(page)])
    bench["table"].main()
    text = page.read_text()
    assert "old" not in text and text.startswith("Before\n<!-- forget10 -->")
    assert "| `hamu_q` | **0.51** | **0.700** |" in text
    assert "| npo | 0.41 | 0.700 |" in text
    assert "| graddiff | **0.61** | **0.400** |" in text
    assert "| `hamu_q` | 1 of 3 | none |" in text
    # Distances: utility is .1 off in one of nine columns, of NPO's second seed MIA .09 more; .09 of WGA with the end.
    assert "| *retrained* | 0.000 ± 0.000 | 0.000 / 0.000 |" in text
    assert "| npo | 0.016 ± 0.007 | 0.011 / 0.021 |" in text
    places = [text.index(f"| {name} | 0.0") for name in ("wga+end", "`hamu_q`", "npo", "graddiff")]
    assert places == sorted(places)
    # Half an interval: t .975 at one degree of freedom, 12.706, times .01 / 2.
    assert "nearest baseline npo, whose distance is larger by 0.005 (95 % interval -0.059 to 0.069)" in text
    assert "nearest baseline with the end wga+end, whose distance is larger by -0.001 (95 % interval" in text
    assert "ours is nearer in 1 of 2 runs." in text
    assert "| kl |" not in text
    assert "| npo | lr=1 | half | 0.20 | 0.500 | 0.300 |" in text
