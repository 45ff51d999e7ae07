"""The benchmark's files and tables: one schema, settings chosen from them, tables made from them."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "compare"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The benchmark's modules, which import each other by their bare names as a script's do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    found = {}
    for name in ("cell", "settings", "rows", "held", "table"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        found[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, found[name])
        spec.loader.exec_module(found[name])
    return found


def cell(bench: dict[str, ModuleType], method: str, setting: str, gap: float | None, **changes: Any) -> Any:
    c = bench["cell"]
    request, seed = changes.pop("request", "class"), changes.pop("seed", 0)
    scores = dict.fromkeys(c.SCORES, 0.5)
    gaps = dict.fromkeys(("UA", "RA", "TA", "MIA_AUC", "average_gap"), gap)
    return c.Cell(c.Place("digits", request, seed, method, setting), scores, gaps, **changes)


def test_results_are_a_folder_before_anything_is_trained_for_them(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "digits.jsonl").touch()
    assert bench["cell"].folder(str(tmp_path)) == tmp_path
    assert bench["cell"].folder(str(tmp_path / "new")) == tmp_path / "new"
    with pytest.raises(argparse.ArgumentTypeError, match="expected a folder, found a file"):
        bench["cell"].folder(str(tmp_path / "digits.jsonl"))


def test_a_cell_is_found_again(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    written = cell(bench, "pcgrad", "adam 0.0001", 1.5, forward=30, backward=30, arguments={"a": 1})
    written.write(tmp_path)
    other = cell(bench, "pcgrad", "adam 0.0001", 2.5, seed=1)
    other.write(tmp_path)
    assert bench["cell"].cells(tmp_path, "digits") == {written.place: written, other.place: other}
    again = cell(bench, "pcgrad", "adam 0.0001", 0.5)  # --again: the later one counts
    again.write(tmp_path)
    assert list(bench["cell"].cells(tmp_path, "digits").values()) == [again, other]
    assert bench["cell"].cells(tmp_path, "cifar10") == {}
    assert written.passes == 30


def test_a_file_of_another_schema_is_refused(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    cell(bench, "pcgrad", "adam 0.0001", 1.5, schema=0).write(tmp_path)
    with pytest.raises(SystemExit, match="line 1: schema 0"):
        bench["cell"].cells(tmp_path, "digits")


def test_the_best_setting_is_that_of_the_first_seed(bench: dict[str, ModuleType]) -> None:
    gaps = {"a": (1.0, None), "b": (30.0, 20.0)}  # the undefined one counts 100
    found = [
        cell(bench, "kl", name, gap, request=request)
        for name, pair in gaps.items()
        for request, gap in zip(("class", "poison"), pair, strict=True)
    ]
    found.append(cell(bench, "kl", "a", 0.0, request="poison", seed=1))
    best = bench["cell"].best_settings
    assert best(found, {"kl": ["a", "b"]}, ("class", "poison")) == {"kl": "b"}
    assert best(found, {"kl": ["a", "b"]}, ("class",)) == {"kl": "a"}
    assert best(found[1:], {"kl": ["a", "b"]}, ("class", "poison")) == {}  # one run is missing: no choice yet


def test_every_baseline_has_the_same_budget(bench: dict[str, ModuleType]) -> None:
    settings = bench["settings"]
    assert {len(of) for of in settings.BASELINES.values()} == {3}
    suite = settings.steps(list(settings.STEPS), "digits")
    assert len({(s.method, s.name) for s in suite}) == len(suite) >= (5 + 2 * 3) * 7
    trusted = {(s.method, s.name) for s in suite if s.step["name"] == "trust"}
    assert {(method, "trust") for method in settings.STEPS} <= trusted


def test_tables_show_the_least_gap_in_bold(bench: dict[str, ModuleType]) -> None:
    table = bench["table"]
    found = [
        cell(bench, "original", "none", 40.0),
        cell(bench, "hamu_q", "trust", 0.5, reached=True, attempts=20, seconds=2.0, cpu_seconds=1.0),
        cell(bench, "eupmu", "trust", 0.75),
    ]
    shown = table.tuned(found)
    assert "| `hamu_q` | **0.50** | **0.50** | 20 | 1.0 |" in shown
    assert "| `eupmu` | 0.75 | 0.75 |" in shown
    assert "| *nothing done* | 40.00 |" in shown


def test_step_lengths_are_compared_on_the_requests_that_all_have(bench: dict[str, ModuleType]) -> None:
    table = bench["table"]
    found = [
        cell(bench, "graddiff", s.name, 2.0, reached=True, attempts=10, seconds=3.0)
        if s.step["name"] == "trust"
        else cell(bench, "graddiff", s.name, None, diverged=True)
        for s in bench["settings"].steps(["graddiff"], "digits")
    ]
    found.append(cell(bench, "graddiff", "trust", 50.0, seed=1))  # no fixed rate has run on this seed
    shown = table.step_lengths(found)
    assert "| graddiff | 2.0 (1/1) | 100.0 (0/1)† |" in shown
    assert "| trust region | 1 | 0 | 0 | 1 | 10 | 3.0 | 2.0 |" in shown
    assert "| SGD 0.1 | 1 | 1 | 0 | 0 | – | – | 100.0 |" in shown


def _held_out(bench: dict[str, ModuleType]) -> list[Any]:
    """MGDA and HAMU-Q with a repair on two seeds of a class and, for seed 1, in a second order of the batches."""
    names = bench["settings"].names(True)["mgda"]
    found = [cell(bench, "mgda", name, gap) for name, gap in zip(names, (3.0, 1.0, 2.0), strict=True)]
    for method, setting, gaps in (("hamu_q", "trust, repaired", (1.0, 2.0, 2.0)), ("mgda", names[1], (2.0, 2.0, 5.0))):
        found += [cell(bench, method, setting, gap, seed=seed) for seed, gap in ((1, gaps[0]), (2, gaps[1]))]
        again = cell(bench, method, setting, gaps[2], seed=1)
        found.append(replace(again, place=replace(again.place, order=5)))
    plain = bench["settings"].names()["mgda"]
    found += [cell(bench, "mgda", name, 9.0) for name in plain]
    return found + [
        cell(bench, m, s, 9.0, seed=n) for m, s in (("hamu_q", "trust"), ("mgda", plain[0])) for n in (1, 2)
    ]


def test_orders_of_a_request_are_averaged_before_its_difference_counts(bench: dict[str, ModuleType]) -> None:
    """Seed 1: (1 + 3) / 2 further, seed 2: 0; their mean 1, and t(1) at 0.975 is 12.706, the error 1."""
    shown = bench["held"].against(_held_out(bench))
    assert shown.splitlines()[2:] == ["| mgda | 2.75 | 1.75 | +1.00 | -11.71 to +13.71 | 2 of 3 |"]


def test_a_second_order_stands_beside_the_first_where_both_ran(bench: dict[str, ModuleType]) -> None:
    lines = bench["held"].orders(_held_out(bench)).splitlines()
    assert lines[2:] == [
        "| `hamu_q` | 1.00 | 2.00 | 1.00 | 2.00 | 1.00 | 1 |",
        "| mgda | 2.00 | 5.00 | 2.00 | 5.00 | 3.00 | 1 |",
    ]


def test_the_page_holds_what_the_evidence_files_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Every table of both data sets, as `benchmarks/evidence/table.py` prints it now."""
    module = _evidence_table()
    page = (ROOT / "docs" / "how-to-read-the-evidence.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "benchmarks" / "results" / "evidence").glob("*.json"))
    module.main([str(file) for file in files])
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 8 and all(len(each.splitlines()) == 13 for each in tables)
    assert not [each.splitlines()[0] for each in tables if each not in page]


def test_the_mean_of_several_draws_has_students_interval() -> None:
    """0.5 and 0.7: t(1) at 0.975 is 12.706, the error 0.1, so all of 0 to 1; three at 0.5, 0.6, 0.7: 0.6 +- 0.248."""
    module = _evidence_table()
    one = {"value": 0.5, "low": 0.4, "high": 0.6}
    assert module._over_draws([one]) == one
    found = module._over_draws([{**one, "value": x} for x in (0.5, 0.6, 0.7)])
    assert found["value"] == pytest.approx(0.6) and found["low"] == pytest.approx(0.6 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert module._over_draws([{**one, "value": x} for x in (0.5, 0.7)])["high"] == 1.0


def _evidence_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_table", ROOT / "benchmarks" / "evidence" / "table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_repairs_of_drawn_digits_are_compared_in_the_orders_that_were_run_both_ways() -> None:
    spec = importlib.util.spec_from_file_location("drawn", ROOT / "benchmarks" / "drawn.py")
    assert spec is not None and spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    names = [entry.name for entry in (*drawn.ENTRIES, *drawn.OTHERS)]

    def row(name: str, seed: int, away: float, order: int | None = None, repair: bool = False) -> dict[str, Any]:
        return {"seed": seed, "order": order, "repair": repair, "name": name, **dict.fromkeys(drawn.COLUMNS, 50 + away)}

    rows = [row("retrained", seed, 0.0) for seed in (1, 0)]
    rows += [row(name, seed, 2.0 * (1 + seed)) for name in names for seed in (1, 0)]
    assert drawn.repairs(rows) == "", "no order has both ways"
    rows += [row(name, seed, -1.0, repair=True) for name in names for seed in (0, 1)]
    rows += [row(name, 0, 9.0, order=11) for name in names]  # not on every seed
    lines = drawn.repairs(rows).splitlines()
    assert lines[0] == "| | own batches | own batches, repaired | mean | mean, repaired |" and len(lines) == 2 + len(
        names
    )
    assert lines[2] == f"| {names[0]} | 2.0 / 4.0 | 1.0 / 1.0 | 3.0 | 1.0 |"
    rows += [row(name, s, 6.0, order=11, repair=r) for name in names for s in (0, 1) for r in (True, False) if s or r]
    assert "own batches, repaired | other batches | other batches, repaired" in drawn.repairs(rows)
    assert f"| {names[0]} | 2.0 / 4.0 | 1.0 / 1.0 | 9.0 / 6.0 | 6.0 / 6.0 | 5.2 | 3.5 |" in drawn.repairs(rows)
