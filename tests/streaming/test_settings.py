"""The settings of the call and of recipes: what is taken by default, what cannot be, and that nothing else changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import unweave
from unweave import ConfigurationError, Contract, Forget, Keep, devices, rules
from unweave.footprint import fitting, kept, leanest, placed
from unweave.losses import Ascent
from unweave.methods import Method
from unweave.places import Shelf
from unweave.testing.method import blobs

nll = unweave.Classification().nll
CONTRACT = Contract(keep=[Keep("loss", absolute=4.5, clip=8.0)], forget=[Forget("accuracy", at_most=0.1)], every=2)
BY_MODEL = Method(Ascent(nll), nll, rules.HAMU("forget", blocks="model"), "")


class Own(torch.optim.SGD):
    """An optimizer of a user's."""


def called(**more: Any) -> unweave.Result:
    model, forget, retain = (copy.deepcopy(each) for each in blobs())
    settings = {"forget": forget, "retain": retain, "steps": 14, "progress": False, "method": BY_MODEL}
    return unweave.unlearn(model, **{**settings, **more})


def states(result: unweave.Result) -> torch.Tensor:
    return torch.cat([t.flatten().double() for t in result.model.state_dict().values()])


def enough(record: unweave.Record) -> str | None:
    return "enough" if record.number >= 5 else None


RUNS: dict[str, dict[str, Any]] = {
    "contract": {"contract": CONTRACT, "micro": 2},  # looks, rollbacks, the best state
    "repair": {
        "repair": True,
        "stop": [enough],
        "method": Method(Ascent(nll), nll, rules.Fixed(1.0, 0.0), ""),
        "step": unweave.TrustRegion(start=0.05, budget=5.0),
    },
    "lean repair": {"repair": "lean", "steps": 10},
}


@pytest.fixture(scope="module")
def fast() -> dict[str, unweave.Result]:
    return {name: called(**more, memory="fast") for name, more in RUNS.items()}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("memory", "place"), [("lean", "host"), ("lean", "disk"), ("least", "disk"), ("fast", "disk")])
def test_a_run_is_the_same_whatever_is_kept(
    memory: str, place: str, name: str, fast: dict[str, unweave.Result]
) -> None:
    """Rollbacks, the best state, the averages and both phases."""
    found, expected = called(**RUNS[name], memory=memory, place=place), fast[name]
    assert ("repair" in {record.phase for record in found.history}) == ("repair" in name)
    assert [r.phase for r in found.history] == [r.phase for r in expected.history] and found.reason == expected.reason
    # Float32, and averages of bfloat16, which round twice where a gradient is added to them
    torch.testing.assert_close(states(found), states(expected), rtol=1e-3 if "lean" in name else 1e-4, atol=1e-4)
    if memory == "fast":
        assert states(found).equal(states(expected)), "a place rounds nothing"


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf("disk")
    for value in (1.0, 2.0):
        shelf.take([torch.full((3, 2), value), torch.zeros(0), torch.tensor(value, dtype=torch.float64)])
    found = [torch.ones(3, 2), torch.zeros(0), torch.zeros((), dtype=torch.float64)]
    shelf.halfway(found)
    assert found[0].eq(1.5).all() and float(found[2]) == 1.0
    shelf.restore(found)
    assert found[0].eq(2.0).all() and float(found[2]) == 2.0
    assert not list(tmp_path.iterdir()), "even now"


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.01)


@pytest.mark.parametrize(
    ("memory", "more", "words"),
    [
        ("lean", {"method": "ofmu"}, r"'lean' cannot be: OFMU asks for whole gradients. Use 'fast' or 'auto'"),
        (
            "least",
            {"method": "hamu_q"},
            r"HAMU weighs every tensor by itself \(blocks='tensor'; with 'model' it could\)",
        ),
        ("least", {"method": "salun", "step": sgd}, r"a mask of single weights \(saliency\) .* Use 'lean' or 'auto'"),
        ("least", {"step": lambda ps: Own(ps, 0.01)}, "Own may look at all tensors at once"),
        ("most", {}, "memory must be 'auto', 'fast', 'lean' or 'least'"),
    ],
)
def test_what_cannot_be_is_said_by_name_before_a_weight_moves(memory: str, more: dict[str, Any], words: str) -> None:
    model, *_ = blobs()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigurationError, match=words):
        called(**more, memory=memory, inplace=True)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


class Weighs(rules.GradientRule):
    """A rule of a user's that asks for gradients itself."""

    def backward(self, objectives: Any) -> Any:
        return super().backward(objectives)

    def weights(self, gramian: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(gramian), 2, dtype=torch.float64)


def test_a_rule_with_a_way_of_its_own_keeps_both_gradients() -> None:
    assert leanest(Weighs())[0] == "fast"
    assert leanest(rules.PCGrad())[0] == leanest(rules.Fixed())[0] == leanest(rules.PDU())[0] == "least"
    assert leanest(rules.HAMU(blocks="layer"))[0] == "lean"


def test_auto_is_the_first_that_there_is_room_for() -> None:
    sizes = {
        memory: kept(rules.HAMU(blocks="model"), memory, placed("auto", memory, torch.device("meta")), states=None,
                     judged=True, averages=2.0)
        for memory in ("fast", "lean", "least")
    }  # fmt: skip
    here = {memory: each.here for memory, each in sizes.items()}
    assert here == {"fast": 7.0, "lean": 1.0, "least": 0.0} and sizes["lean"].elsewhere == 5.0
    for room, expected in ((7.0, "fast"), (6.9, "lean"), (0.9, "least"), (-1.0, "least"), (None, "fast")):
        assert fitting("auto", "least", here.__getitem__, room) == expected
    assert (
        fitting("auto", "lean", here.__getitem__, 0.9) == "lean"
        and fitting("lean", "least", here.__getitem__, 9) == "lean"
    )


def test_where_memory_is_short_the_call_keeps_less(monkeypatch: pytest.MonkeyPatch) -> None:
    model, *_ = blobs()
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    seen = []

    class Sees:
        def on_step(self, record: Any, objectives: Any) -> None:
            seen.append(objectives.memory)

    for room in (10.0, 3.5, 2.5):  # sizes of the model; its buffers are small, and the trust region has one on a CPU
        monkeypatch.setattr(devices, "memory", lambda device, room=room: round(room * size / 0.8))
        called(steps=1, callbacks=[Sees()])
    assert seen == ["fast", "lean", "least"]
