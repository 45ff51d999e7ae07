"""Weights in half precision that may move have masters in float32, and what is quantised moves by adapters alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset

import unweave
from tests.modalities.records.test_factories import OWN
from tests.modalities.records.test_factories import RECIPE as MADE
from tests.run.test_resume import ended
from unweave.errors import ConfigurationError
from unweave.gramian import block_index
from unweave.modalities import read
from unweave.modules import copied
from unweave.objectives import Objectives
from unweave.precision import masters
from unweave.run.runner import run

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


class Tied(nn.Module):
    """An embedding that is the head, a frozen layer, and a norm in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.middle, self.norm = nn.Embedding(6, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.head = nn.Linear(8, 6)
        self.head.weight = self.embed.weight
        self.to(torch.bfloat16)
        self.norm.float()
        self.middle.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.middle(self.embed(x)).float()).to(self.head.bias.dtype))
        return found


def drawn(seed: int, count: int) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), torch.arange(count) % 3
    return x + 2 * nn.functional.one_hot(y, 5), y


@cache
def trained() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    x, y = drawn(1, 120)
    adam = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(100):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()
    return model


def network(dtype: torch.dtype) -> nn.Module:
    return copied(trained()).to(dtype)


def sides(dtype: torch.dtype) -> dict[str, Any]:
    x, y = drawn(1, 120)
    return {"forget": TensorDataset(x[:24].to(dtype), y[:24]), "retain": TensorDataset(x[24:].to(dtype), y[24:])}


def short(parameters: Any) -> torch.optim.Optimizer:
    """Of a step that bfloat16 can hardly tell from none."""
    return torch.optim.SGD(parameters, 1e-3)


def lone(warnings: Any) -> bool:
    """Whether it is told that weights move in half precision themselves."""
    return any("move in half precision here" in text for text in warnings)


@HALF
def test_steps_shorter_than_rounding_add_up(dtype: torch.dtype) -> None:
    """Many short steps lead where one long one does; on the weights themselves none would move anything."""
    model, start = network(dtype), network(dtype)
    with masters(model):
        for p in model.parameters():
            assert p.dtype == torch.float32
            with torch.no_grad():
                for _ in range(1000):
                    p.sub_(1e-5 * p.abs())
    for p, q in zip(model.parameters(), start.parameters(), strict=True):
        assert p.dtype == dtype
        assert torch.equal(q - 1e-5 * q.abs(), q)  # one alone is lost
        expected = q.float() - q.float().abs() * (1 - (1 - 1e-5) ** 1000)
        assert torch.allclose(p.float(), expected, rtol=torch.finfo(dtype).eps, atol=0)


def test_everything_is_found_again_as_it_was() -> None:
    model = Tied()
    names, objects = [n for n, _ in model.named_parameters()], list(model.parameters())
    kinds, before = [type(m) for m in model.modules()], {n: t.clone() for n, t in model.state_dict().items()}
    with masters(model):
        inside = dict(model.named_parameters())
        assert {p.dtype for p in inside.values() if p.requires_grad} == {torch.float32}
        moving = [p for p in inside.values() if p.requires_grad]
        assert len(moving) == 4  # the tied weight once, the head's bias, and the norm's two
        assert model.embed.weight.dtype == torch.bfloat16 and torch.equal(model.embed.weight, model.head.weight)
        with torch.no_grad():
            next(p for p in moving if p.shape == (6, 8)).add_(1)
        assert torch.equal(model.embed.weight, model.head.weight)
    assert [n for n, _ in model.named_parameters()] == names
    assert all(p is q for p, q in zip(model.parameters(), objects, strict=True))
    assert [type(m) for m in model.modules()] == kinds and model.head.weight is model.embed.weight
    after = model.state_dict()
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved == {"embed.weight", "head.weight"} and after["embed.weight"].dtype == torch.bfloat16


def test_nothing_happens_where_nothing_is_narrow() -> None:
    model = network(torch.float32)
    weights = list(model.parameters())
    with masters(model):
        assert all(p is q for p, q in zip(model.parameters(), weights, strict=True))
        assert not any(parametrize.is_parametrized(m) for m in model.modules())


def test_an_error_inside_leaves_the_model_whole() -> None:
    model = network(torch.bfloat16)
    with pytest.raises(RuntimeError), masters(model):
        raise RuntimeError
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(parametrize.is_parametrized(m) for m in model.modules())


def test_layers_stay_one_block() -> None:
    """A layer's weight and bias are one block, whatever their masters are called."""
    model = network(torch.bfloat16)
    task = unweave.Vision()
    with masters(model):
        of = Objectives(model, (task.nll, task.nll))
        assert of.names == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert block_index(of.names, "layer") == [0, 0, 1, 1]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("inplace", [False, True])
def test_the_call_moves_what_one_step_does_not(inplace: bool) -> None:
    def moved(steps: int) -> int:
        model = network(torch.bfloat16)
        start = [p.detach().clone() for p in model.parameters()]
        found = unweave.unlearn(
            model, **sides(torch.bfloat16), method="graddiff", step=short, steps=steps, inplace=inplace, progress=False
        )
        assert (found.model is model) == inplace
        assert {p.dtype for p in found.model.parameters()} == {torch.bfloat16}
        assert not [text for text in found.warnings if text.startswith("step length")] and not lone(found.warnings)
        return sum(int((a != b).sum()) for a, b in zip(found.model.parameters(), start, strict=True))

    count = sum(p.numel() for p in network(torch.bfloat16).parameters())
    assert moved(1) < 0.1 * count and moved(300) > 0.3 * count


class Casts(nn.Module):
    """Its forward asks its own parameters for their type."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x.to(next(self.parameters()).dtype))
        return found


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("loader", [False, True])
def test_a_model_that_casts_by_its_parameters_runs_without_masters(loader: bool) -> None:
    data: dict[str, Any] = sides(torch.float32)
    data = {name: DataLoader(each, batch_size=16) for name, each in data.items()} if loader else data
    found = unweave.unlearn(Casts(), **data, task="classification", steps=2, progress=False)
    assert found.steps == 2 and {p.dtype for p in found.model.parameters()} == {torch.bfloat16}
    assert lone(found.warnings)


def test_inputs_of_another_type_are_told_from_the_weights() -> None:
    with pytest.raises(ConfigurationError, match=r"the model \(bfloat16 weights\) cannot run on .*float32"):
        unweave.unlearn(network(torch.bfloat16), **sides(torch.float32), task="classification", steps=1, progress=False)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_a_contract_reads_the_model_that_is_left() -> None:
    """What the final set said is what the rounded model says."""
    contract = unweave.Contract(keep=[unweave.Keep("accuracy", absolute=0.5)], forget=[])
    guard, final = (TensorDataset(x.to(torch.bfloat16), y) for x, y in (drawn(2, 60), drawn(3, 60)))
    original = network(torch.bfloat16)
    found = unweave.unlearn(
        original, **sides(torch.bfloat16), contract=contract, guard=guard, final=final, steps=5, progress=False
    )
    assert found.contract is not None
    x, y = final.tensors
    lost = [float((model(x).argmax(1) == y).double().mean()) for model in (original, found.model)]
    [told] = found.contract.verdicts
    assert told.final is not None and told.final.measured == pytest.approx(lost[0] - lost[1], abs=1e-12)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_float16_is_warned_of() -> None:
    found = {
        kind: unweave.unlearn(network(kind), **sides(kind), steps=1, progress=False).warnings
        for kind in (torch.float16, torch.bfloat16, torch.float32)
    }
    told = {kind for kind, texts in found.items() if any("in float16" in text for text in texts)}
    assert told == {torch.float16}


FACTORY = (
    OWN
    + """

class Half(nn.Sequential):
    def forward(self, x):
        return super().forward(x.bfloat16()).float()


def half():
    return Half(net()).to(torch.bfloat16)
"""
)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_a_recipe_s_network_moves_and_is_resumed(tmp_path: Path) -> None:
    """Its step is made before the block in which the steps are: it is to move what the model reads there."""
    (tmp_path / "own.py").write_text(FACTORY)
    (tmp_path / "recipe.yaml").write_text(MADE)
    given = ["model={factory: 'own.py:half'}", "step={name: adam, lr: 0.01}", "contract=none", "method.name=graddiff"]
    recipe = read(tmp_path / "recipe.yaml", given)
    whole = run(recipe, tmp_path / "whole")
    assert whole["model_after"] != whole["model_before"] and whole["steps"] == 4
    assert lone(whole["warnings"]), "a recipe has no masters, and says so"
    ended(recipe, tmp_path / "cut", "unlearning", done=2)
    assert run(recipe, tmp_path / "cut", resume=True)["model_after"] == whole["model_after"]


class Packed(nn.Parameter):
    """As quantising libraries keep integers: a parameter of a kind of its own."""


def quantised() -> nn.Module:
    model = network(torch.float32)
    weight = (model[0].weight * 40).to(torch.int8)  # type: ignore[union-attr, operator]
    model[0].weight = Packed(weight, requires_grad=False)  # type: ignore[union-attr]
    model[0].forward = lambda x: x @ (model[0].weight / 40).T + model[0].bias  # type: ignore[method-assign, union-attr]
    return model


def test_what_is_quantised_is_refused_without_adapters() -> None:
    with pytest.raises(ConfigurationError, match=r"quantised \(0\.weight is Packed\) and has no adapters") as error:
        unweave.unlearn(quantised(), **sides(torch.float32), steps=1, progress=False)
    assert "Lora()" in str(error.value)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_who_names_what_may_move_may_move_it() -> None:
    model = quantised()
    found = unweave.unlearn(model, **sides(torch.float32), parameters="2.*", steps=2, inplace=True, progress=False)
    assert found.steps == 2
