"""The demo of a model that draws, shrunken: every method runs, and the table says what it says it does."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from unweave.audit.work import cores
from unweave.cli import main
from unweave.commands import demo as command
from unweave.contract.keeper import ONLY
from unweave.demos import drawn
from unweave.demos.compare import Json
from unweave.demos.drawn import ANOTHER, CLASS, COLUMNS, ENTRIES, EPOCH, SHOWN, _faults, _hidden, demo_drawn
from unweave.modalities.diffusion.evaluation.search import Attack
from unweave.report.build import build
from unweave.report.demo_page import KINDS
from unweave.watch import Watch

SMALL: Json = {
    **{"steps": 1, "training": {"steps": 4, "batch": 8}, "images": 20, "sampling_steps": 3, "batches": (4, 4)},
    "attack": Attack(images=4, search=1, looks=1, drawn=20),
}
KIND = KINDS["demo_drawn.json"]


def code(arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def found() -> Json:
    pytest.importorskip("diffusers")
    return demo_drawn(**SMALL)


@pytest.mark.slow
def test_what_is_compared(found: Json) -> None:
    baselines = ["finetune", "graddiff", "uce", "erase_diff", "relabel_condition", "salun", "esd"]
    assert [entry.key for entry in ENTRIES] == [*baselines, "eupmu", "hamu_q", "unilateral_surgery"]
    names = [row["name"] for row in found["rows"]]
    assert names == ["original", "retrained", "only hidden", *(entry.name for entry in ENTRIES)]
    assert list(found["settings"]) == names[3:]
    kinds = [row["kind"] for row in found["rows"]]
    assert kinds == ["end", "reference", "hidden", *7 * ["baseline"], *3 * ["headline"]]
    assert "137 training images" in found["text"] and "(1210)" in found["text"] and "160,401 weights" in found["text"]


@pytest.mark.slow
def test_every_row_is_measured_and_the_distance_is_the_mean_gap(found: Json) -> None:
    reference = found["rows"][1]
    assert reference["distance"] == 0 and reference["seconds"] > 0
    for row in found["rows"]:
        gaps = [abs(row[key] - reference[key]) for key in COLUMNS]
        assert row["distance"] == pytest.approx(sum(gaps) / len(COLUMNS))
        assert row["shown"] == pytest.approx(100 - row["UA_drawn"]) and row["frechet"] > 0
        assert {key: row["scores"][key]["n"] for key in ("UA_drawn", "RA_drawn", "search")} == {
            "UA_drawn": 20,
            "RA_drawn": 90,
            "search": 20,
        }
    methods = [row for row in found["rows"] if row["steps"]]
    assert len(methods) == 10 and all(row["steps"] == 1 and row["seconds"] > 0 for row in methods)
    ended = {row["name"]: row["ended"] for row in methods}
    assert ended.pop("UCE") == ONLY and set(ended.values()) == {"steps used up"}
    assert not [row for row in methods if "met" in row]
    moved = {row["name"] for row in methods if row["frechet"] != found["rows"][0]["frechet"]}
    assert moved == {row["name"] for row in methods} - {"UCE"}, "every method but UCE moved what is drawn of the others"


@pytest.mark.slow
def test_the_demo_as_it_comes() -> None:
    """The original draws what is asked for, and headline methods draw the class no more, at the demo's own size."""
    pytest.importorskip("diffusers")
    rows = {row["name"]: row for row in demo_drawn(["relabel_condition", "esd", "eupmu", "hamu_q"])["rows"]}
    original, retrained = rows["original"], rows["retrained"]
    assert original["RA_drawn"] >= 90 and original["UA_drawn"] <= 10
    good = [name for name, row in rows.items() if row["steps"] and not _faults(row, original, retrained)]
    assert len(good) >= 3, rows
    assert rows["only hidden"]["search"] > 80, "the search finds what is only hidden"


@pytest.mark.slow
def test_the_grid_has_a_row_for_each_model(found: Json) -> None:
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(base64.b64decode(found["grid"])))
    assert image.height == 14 + 50 * len(found["rows"]) and image.width > 50 * (9 + SHOWN)


@pytest.mark.slow
def test_two_processes_find_what_one_does(found: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "cores", lambda: 1 if cores() > 1 else 2)  # the other way than before
    again = demo_drawn(["esd", "eupmu"], **SMALL)
    timed = ("seconds", "reading")
    plain = [{k: v for k, v in row.items() if k not in timed} for row in again["rows"]]
    named = {row["name"]: {k: v for k, v in row.items() if k not in timed} for row in found["rows"]}
    assert plain == [named[row["name"]] for row in again["rows"]] and len(plain) == 5


def test_what_is_hidden_has_moved_in_one_row() -> None:
    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.class_embedding = nn.Embedding(11, 2)

    original = Asked()
    before = original.class_embedding.weight.detach().clone()
    hidden = _hidden(original)
    assert isinstance(hidden, Asked)
    moved = (hidden.class_embedding.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [CLASS] and torch.equal(hidden.class_embedding.weight[CLASS], before[ANOTHER])
    assert torch.equal(original.class_embedding.weight, before)


def test_what_a_method_did_not_do_is_said() -> None:
    original = {"UA_drawn": 5.0, "RA_drawn": 95.0, "frechet": 3.0, "search": 90.0}
    good, retrained = {"UA_drawn": 85.0, "RA_drawn": 90.0, "frechet": 6.0, "search": 50.0}, {"search": 10.0}
    for changed, said in (
        ({}, ""),
        ({"UA_drawn": 84.5}, "UA 84.5 %"),
        ({"RA_drawn": 89.0, "frechet": 6.1}, "RA 6.0 points lower, Fréchet 6.1"),
        ({"search": 51.0}, "search 51 %"),
        ({"search": None}, ""),
        ({"UA_drawn": None}, "UA_drawn undefined"),
    ):
        assert _faults(good | changed, original, retrained) == said
    assert _faults(good, original | {"RA_drawn": None}, retrained) == "the original's scores are undefined"


@pytest.mark.slow
def test_the_command(
    found: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def ran(
        methods: Sequence[str], *, seed: int, steps: int, training: Json, watch: Watch, tell: Callable[[Json], None]
    ) -> Json:
        asked.extend([methods, seed, steps, training])
        tell(found)
        return found

    monkeypatch.setattr(command, "demo_drawn", ran)
    monkeypatch.setenv("COLUMNS", "80")
    options = ["--method", "esd", "--steps", "3", "--epochs", "4", "--seed", "5"]
    assert code(["demo", "--drawn", "-o", str(tmp_path), *options]) == 0
    assert asked == [["esd"], 5, 3, {"steps": 4 * EPOCH}]
    out = capsys.readouterr().out
    assert max(map(len, out[: out.rindex(" s. Report")].splitlines())) <= 80
    words = ("only hidden", "UnilateralSurgery", "Fréchet", "search %", "Hidden is not gone", "another seed may order")
    assert not [word for word in words if word not in " ".join(out.split())]
    assert "of 10 methods no longer draw the class" in out and "FID" not in out and "erased" not in out
    assert next(command._notes(found["rows"], KIND)).startswith("n: UA, search 20; RA, leak, Fréchet 90 images")
    assert json.loads((tmp_path / "demo_drawn.json").read_text())["rows"] == found["rows"]
    assert (tmp_path / "grid.png").read_bytes() == base64.b64decode(found["grid"])
    page = (tmp_path / "report.html").read_text()
    assert found["grid"] in page and "a row a model" in page and 'class="gallery wide"' in page
    assert build(tmp_path).read_text() == page


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert code(["demo", "--drawn"]) == 2
    assert capsys.readouterr().err.count("pip install 'unweave[diffusion]'") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--request", "class"], "--drawn has one of its own"),
        (["--text"], "give one of them"),
        (["--method", "hamuq"], "Did you mean 'hamu_q'?"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_what_belongs_to_others_or_to_nobody(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["demo", "--drawn", *options]) == 2
    assert said in capsys.readouterr().err
