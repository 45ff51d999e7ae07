"""`unweave evidence` unlearns, asks and attacks where `run.device` says, in workers too, and finds what a CPU finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_collect import RECIPE as IMAGES
from tests.audit.test_texts import RECIPE as TEXTS
from tests.audit.test_texts import world as texts_folder
from tests.device._devices import SIMULATED, Watch
from tests.device.test_device import DEVICE, WHY_NOT, exact, there
from tests.modalities.records._tables import RECIPE as TABLE
from tests.modalities.records._tables import written
from unweave.audit import models, work
from unweave.audit.collect import evidence
from unweave.audit.experiment import Experiment
from unweave.audit.models import make
from unweave.errors import ConfigurationError
from unweave.execution import device_of
from unweave.modalities import job, read

assert texts_folder  # a fixture

pytestmark = pytest.mark.skipif(DEVICE is None, reason=WHY_NOT)
Write = Callable[..., Path]
RECORDS = (
    TABLE.replace(TABLE.splitlines()[1], "forget: {random: 0.3}").replace("epochs: 30", "epochs: 3")
    + "contract: none\nevidence: {runs: 2, retrained: 2, relearning: {steps: [0, 1, 2]}}\n"
)
KINDS = {"images": IMAGES.replace("retrained: 4", "retrained: 2"), "records": RECORDS, "texts": TEXTS}
PARTS = ("gaps", "per_example", "attacks", "over_runs", "robustness", "claim")
SEEN = "UNWEAVE_TEST_SEEN"  # names the file in which every unlearning notes where it is


def noting(file: Path) -> Any:
    """`Session.start`, with a line in the file for each."""
    start = models.Session.start

    def noted(recipe: Any, request: Any, original: Any, retrained: Any = None) -> Any:
        with file.open("a") as lines:
            lines.write(f"{os.getpid()} {device_of(original).type}\n")
        return start(recipe, request, original, retrained)

    return staticmethod(noted)


def begin(world: Experiment) -> None:
    """Begins a worker, whose import of this file has made the simulated device known."""
    models.Session.start = noting(Path(os.environ[SEEN]))
    _begin(world)


_begin = work._begin


@pytest.mark.parametrize("kind", ["images", "records", pytest.param("texts", marks=pytest.mark.slow)])
def test_it_finds_what_the_cpu_finds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("texts_folder") if kind == "texts" else tmp_path
    path = written(folder, KINDS[kind], "device.yaml") if kind == "records" else folder / "device.yaml"
    path.write_text(KINDS[kind])
    found = {}
    for name in ("cpu", str(there())):
        monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "cache" / name.replace(":", "")))
        asked = read(path, [f"run.device={name}"])
        with monkeypatch.context() as patched, Watch(there().type) as watch:
            patched.setattr(models.Session, "start", noting(tmp_path / "seen"))
            found[name] = evidence(asked, tmp_path / name.replace(":", ""))
        assert not watch.mixed and bool(watch.calls) is (name != "cpu")
        world = Experiment(asked, job(asked))
        for model in ("original", "retrained", "unlearned"):
            made = make(world, model, 1)
            assert made.about["cached"] and device_of(made.model).type == name.partition(":")[0]
    assert [line.split()[1] for line in (tmp_path / "seen").read_text().splitlines()] == ["cpu"] * 2 + [
        there().type
    ] * 2
    here, on_device = found.values()
    if exact() and kind != "texts":  # whose attention is another kernel there
        assert [on_device[part] for part in PARTS] == [here[part] for part in PARTS]
    assert on_device["claim"]["level"] == here["claim"]["level"]
    # points: AdamW makes a whole step of a gradient that is rounding
    values = {name: gap["value"] for name, gap in here["gaps"]["unlearned"]["metrics"].items()}
    gaps = {name: gap["value"] for name, gap in on_device["gaps"]["unlearned"]["metrics"].items()}
    assert len(values) > 2 and gaps == pytest.approx(values, abs=0.05 if exact() else 1)


@pytest.mark.skipif(os.environ.get("UNWEAVE_DEVICE") != SIMULATED, reason="a worker finds a real device by itself")
@pytest.mark.slow
def test_workers_compute_there_too(recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, found = read(recipe(KINDS["images"]), [f"run.device={there()}"]), {}
    monkeypatch.setenv(SEEN, str(tmp_path / "seen"))
    monkeypatch.setattr(work, "_begin", begin)
    for workers in (2, 1):
        monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / f"cache {workers}"))
        found[workers] = evidence(asked, tmp_path / f"out {workers}", workers=workers)
    noted = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert [device for _, device in noted] == [there().type] * 2, "the workers' own; nobody notes those of one process"
    assert str(os.getpid()) not in dict(noted)
    assert [found[2][part] for part in PARTS] == [found[1][part] for part in PARTS]


def test_a_device_that_is_not_there_is_refused_before_anything_is_done(recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"run\.device: .*:7 is asked for"):
        evidence(read(recipe(KINDS["images"]), [f"run.device={there().type}:7"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
