"""On an accelerator every method, contract, reading and resumed run gives what the CPU gives, and waits for little.

`make device` simulates one on the CPU's memory, where every kernel is the CPU's: what differs is what crosses.
`UNWEAVE_DEVICE=cuda` runs the same on a GPU, to the rounding of its kernels.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from tests._kinds import KINDS, kind
from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, memorised, network, unseen
from tests.catalogue import test_methods_on_diffusion as drawn
from tests.catalogue import test_methods_on_text as texts
from tests.device._devices import Watch, device
from unweave import METHODS, Method, devices, rules
from unweave.data.batches import moved, whole
from unweave.data.pairs import Pairs
from unweave.data.twins import on_host
from unweave.errors import ConfigurationError
from unweave.evaluation import score
from unweave.loop import OptimizerStep
from unweave.losses import Ascent
from unweave.modalities import read
from unweave.objectives import Objectives
from unweave.oneshot import ONESHOT
from unweave.run.runner import run
from unweave.trust import TrustRegion

DEVICE, WHY_NOT = device()
TASK = unweave.Classification()
pytestmark = pytest.mark.skipif(DEVICE is None, reason=WHY_NOT)
Write = Callable[..., Path]


def there() -> torch.device:
    assert DEVICE is not None
    return DEVICE


def exact() -> bool:
    return there().type == "sim"


def near(fused: bool = False) -> dict[str, float]:
    """A kernel of another device rounds otherwise; attention and LayerNorm are one kernel on the CPU alone."""
    if not exact():
        return {"rtol": 1e-3, "atol": 1e-5}
    return {"rtol": 1e-5, "atol": 1e-6} if fused else {"rtol": 0.0, "atol": 0.0}


def same(here: nn.Module, on_device: nn.Module, fused: bool = False) -> None:
    """Weights and buffers."""
    found = {name: value.cpu() for name, value in on_device.state_dict().items()}
    assert {value.device for value in on_device.state_dict().values()} == {there()}
    torch.testing.assert_close(found, dict(here.state_dict()), **near(fused))


def both(model: nn.Module, given: Callable[[nn.Module], dict[str, Any]]) -> tuple[Any, Any, Watch]:
    """The call here and there; what it is given may hold the model, so it is made for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = unweave.unlearn(copy.deepcopy(model), **given(model))
        moved = copy.deepcopy(model).to(there())
        with Watch(there().type) as watch:
            found = unweave.unlearn(moved, **given(moved))
    return here, found, watch


@pytest.mark.parametrize("name", sorted({*METHODS, *ONESHOT} - {"uce"}))
def test_a_method(name: str) -> None:
    if name in TEXT_ONLY:
        model, forget, retain = texts.memorised()
        task: Any = texts.TASK
    elif name in DIFFUSION_ONLY:
        (model, task), (forget, retain, _) = drawn.original("plain"), drawn.sets()
    else:
        model, forget, retain = memorised()
        task = "classification"
    common = {"forget": forget, "retain": retain, "task": task, "method": name, "steps": 3, "forget_batch": 8}
    here, found, watch = both(model, lambda _: common)
    same(here.model, found.model, fused=name in TEXT_ONLY)
    assert not watch.mixed


@pytest.mark.parametrize("memory", ["lean", "least"])
def test_gradients_that_are_not_kept_and_copies_on_the_host(memory: str) -> None:
    model, forget, retain = memorised()
    common = {"forget": forget, "retain": retain, "task": "classification", "steps": 6, "forget_batch": 8}
    method = Method(Ascent(TASK.nll), TASK.nll, rules.HAMU(blocks="model"), "")
    given = {**common, "method": method, "memory": memory, "place": "host", "repair": True}
    here, found, watch = both(model, lambda _: given)
    assert {record.phase for record in found.history} == {"push", "repair"}
    same(here.model, found.model)
    assert not watch.mixed


@pytest.mark.parametrize("name", KINDS)
def test_a_contract_on_every_kind(name: str) -> None:
    own = kind(name)
    keep = unweave.Keep("loss", absolute=0.05, clip=0.5)
    contract = unweave.Contract(keep=[keep], forget=[unweave.Forget("unseen")], every=2)
    here, found, watch = both(
        own.original(),
        lambda _: {
            "forget": own.forget, "retain": own.retain, "task": own.task, "holdout": own.test, "contract": contract,
            "steps": 8,
        },
    )  # fmt: skip
    same(here.model, found.model)
    assert not watch.mixed
    assert here.reason == found.reason
    assert here.contract is not None and found.contract is not None
    if exact():
        assert here.contract.clauses() == found.contract.clauses()


@pytest.mark.parametrize(
    "given",
    [
        {"train_mode": True},
        {"step": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)},
        {"micro": 3},
        {"relearner": 2},
        {"until": "unseen", "holdout": True},
        {"method": "eupmu", "probe": True},
        {"parameters": "0.*"},
    ],
    ids=lambda given: "-".join(given),
)
def test_a_setting(given: dict[str, Any]) -> None:
    model, forget, retain = memorised()
    model[1] = nn.Sequential(nn.LayerNorm(64), nn.ReLU(), nn.Dropout(0.2))
    given = {name: unseen() if name in ("holdout", "probe") else value for name, value in given.items()}
    here, found, watch = both(model, lambda _: {"forget": forget, "retain": retain, "steps": 3, **given})
    same(here.model, found.model, fused=True)
    assert not watch.mixed


def test_a_retrained_model_is_compared_with() -> None:
    model, forget, retain = memorised()
    other = network(seed=1)
    contract = unweave.Contract(forget=[unweave.Forget("retrained")])
    here, found, watch = both(
        model,
        lambda like: {
            "forget": forget, "retain": retain, "steps": 4, "contract": contract, "holdout": unseen(),
            "retrained": copy.deepcopy(other).to(next(like.parameters()).device),
        },
    )  # fmt: skip
    same(here.model, found.model)
    assert not watch.mixed


def test_quote_and_scores() -> None:
    model, forget, retain = memorised()
    moved = copy.deepcopy(model).to(there())
    given = {"forget": forget, "retain": retain}
    task = unweave.Vision()
    with Watch(there().type) as watch:
        quote = unweave.diagnose(moved, task=task, **given)
        scores = score(moved, task, test=unseen(), **given)
    own = score(model, task, test=unseen(), **given)
    assert not watch.mixed
    here = unweave.diagnose(model, task=task, **given)
    assert [quote.cosine, quote.kappa] == pytest.approx([here.cosine, here.kappa], rel=1e-5)
    values = {name: value for name, each in own.items() if (value := each.value) is not None}
    assert len(values) > 3
    found = {name: each.value for name, each in scores.items() if each.value is not None}
    assert found == pytest.approx(values, rel=0 if exact() else 1e-3)


def test_a_run_by_recipe_is_resumed(recipe: Write, tmp_path: Path) -> None:
    """A run of the command, whole and interrupted, and the same on the CPU."""
    folders = {name: tmp_path / name for name in ("cpu", "whole", "again")}
    common = ["run.steps=6", "run.checkpoint_every=2", "evaluation.quote=false"]
    run(read(recipe(), [*common, "run.device=cpu"]), folders["cpu"])
    own = read(recipe(), [*common, f"run.device={there()}"])
    with Watch(there().type) as watch:
        run(own, folders["whole"])
    run(own, folders["again"])
    (folders["again"] / "summary.json").unlink()
    run(own, folders["again"], resume=True)
    weights = {name: load_file(each / "model" / "model.safetensors") for name, each in folders.items()}
    torch.testing.assert_close(weights["again"], weights["whole"], rtol=0, atol=0)
    torch.testing.assert_close(
        weights["whole"], weights["cpu"], rtol=0 if exact() else 1e-3, atol=0 if exact() else 1e-5
    )
    assert not watch.mixed


def test_a_device_by_name() -> None:
    assert devices.chosen("auto").type == devices.chosen(str(there())).type == there().type
    for wrong in ("gpu", "cuda:99", f"{there().type}:99"):
        with pytest.raises(ConfigurationError, match=r"run\.device: "):
            devices.chosen(wrong)


def test_randomness_goes_on_as_it_was() -> None:
    states = devices.rng_states()
    with devices.seeded(3):
        first = torch.rand(4, device=there())
    with devices.seeded(3):
        assert torch.rand(4, device=there()).equal(first)
    assert states and all(a.equal(b) for a, b in zip(states, devices.rng_states(), strict=True))


# --- what a step waits for


def chain(layers: int, width: int = 16) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        inner = [part for _ in range(layers - 2) for part in (nn.Tanh(), nn.Linear(width, width))]
        return nn.Sequential(nn.Linear(8, width), *inner, nn.Tanh(), nn.Linear(width, 4))


def step_of(task: Any, model: nn.Module, forget: Any, retain: Any, rule: Any, region: bool) -> Watch:
    """The third step, which finds every buffer made and, in a trust region, looks at both sides; on host batches."""
    model = copy.deepcopy(model).to(there())
    objectives = Objectives(model, (Ascent(task.nll), task.nll))
    step: Any = TrustRegion() if region else OptimizerStep(torch.optim.SGD(model.parameters(), lr=1e-3))
    pairs = Pairs(forget, retain, forget_batch=8, retain_batch=16, device=there())
    for number in (1, 2):
        step.take(number, rule, objectives.at(next(iter(pairs))))
    pair = next(iter(pairs))
    with Watch(there().type) as watch:
        step.take(3, rule, objectives.at(pair))
    return watch


def watched(layers: int, rule: Any, region: bool) -> tuple[Watch, int]:
    """A step of a chain of layers, and the operations of its passes alone: with a look in the trust region."""
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(32, 8, generator=generator), torch.randint(4, (32,), generator=generator))
    task, model = unweave.Vision(), chain(layers)
    watch = step_of(task, model, data, data, rule, region)
    model.to(there())
    batches = [tuple(each[:size].to(there()) for each in data.tensors) for size in (8, 16)]
    with Watch(there().type) as passes:
        for batch in batches:
            task.nll(model, batch).mean().backward()
            if region:
                with torch.no_grad():
                    task.nll(model, batch)
    return watch, passes.calls


@pytest.mark.parametrize("name", [*KINDS, "texts", "diffusion"])
def test_no_kind_of_task_waits_for_labels(name: str) -> None:
    """Losses of both sides and the Gramian are waited for, labels are known on the host, of whatever kind they are."""
    if name == "texts":
        (model, *sides), task = texts.memorised(), texts.TASK
    elif name == "diffusion":
        (model, task), (*sides, _) = drawn.original("plain"), drawn.sets()
    else:
        own = kind(name)
        task, model, sides = own.task, own.model, [own.forget, own.retain]
    waits = step_of(task, model, *sides, rules.HAMU("forget"), region=False).waits
    own_code = sum(
        count for line, count in waits.items() if not line.startswith("tasks/_passes")
    )  # transformers' masks
    assert own_code == (5 if name == "diffusion" else 3), waits  # conditions that were dropped are read once more


@pytest.mark.parametrize("region", [False, True], ids=["sgd", "trust"])
@pytest.mark.parametrize(
    "rule",
    [lambda: rules.HAMU("forget"), lambda: rules.HAMU("retain"), lambda: rules.EUPMU(dual_lr=0.1), rules.PCGrad],
    ids=["hamu_q", "hamu_u", "eupmu", "pcgrad"],
)
def test_what_a_step_waits_for(rule: Callable[[], Any], region: bool) -> None:
    """As often for a hundred tensors as for twenty; one operation for many tensors where there is one."""
    few, many = (watched(layers, rule(), region) for layers in (10, 50))
    assert sum(few[0].waits.values()) == sum(many[0].waits.values()) <= (5 if region else 3), many[0].waits
    own = [watch.calls - passes for watch, passes in (few, many)]
    # Those of its passes apart: none for each tensor. One pass over both sides adds the second gradient to the first.
    assert own[1] - own[0] == (80 if isinstance(rule(), rules.EUPMU) else 0)


def test_a_batch_that_was_written_to_is_read_from_the_device() -> None:
    labels = moved({"y": torch.tensor([0, 1, 2])}, there())["y"]
    with Watch(there().type) as watch:
        assert on_host(labels).tolist() == [0, 1, 2] and on_host(whole(labels)).tolist() == [0, 1, 2]
    assert not watch.waits
    labels[0] = 3
    assert on_host(labels).tolist() == on_host(whole(labels)).tolist() == [3, 1, 2]


def test_no_float64_where_a_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on MPS: what is summed in float64 is summed on the CPU, and to the same bits."""
    model, forget, retain = memorised()
    given = {"forget": forget, "retain": retain, "holdout": unseen(), "steps": 8, "seed": 1}
    contract = unweave.Contract(keep=[unweave.Keep("loss", absolute=0.05, clip=0.5)], forget=[unweave.Forget("unseen")])
    for method in ("hamu_q", "eupmu", "ofmu", "scrub", "munba"):
        common = {**given, "method": method, "contract": contract if method == "hamu_q" else None}
        without_float64(monkeypatch, model, common)


@pytest.mark.parametrize("name", KINDS)
def test_no_kind_of_task_needs_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = kind(name)
    contract = unweave.Contract(keep=[unweave.Keep("loss", absolute=0.05, clip=0.5)], forget=[unweave.Forget("unseen")])
    sides = {"forget": own.forget, "retain": own.retain, "holdout": own.test}
    without_float64(monkeypatch, own.original(), {**sides, "task": own.task, "contract": contract, "steps": 4})


def without_float64(monkeypatch: pytest.MonkeyPatch, model: nn.Module, given: dict[str, Any]) -> None:
    """The call here, and there on a device that makes no tensor in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = unweave.unlearn(copy.deepcopy(model), **given)
        with monkeypatch.context() as patched, Watch(there().type) as watch:
            patched.setattr(devices, "_SINGLE", {there().type})
            found = unweave.unlearn(copy.deepcopy(model).to(there()), **given)
    assert not watch.double, watch.double
    same(here.model, found.model, fused=True)
