"""Forget sides of diffusion models: golden values, what they draw, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests._denoising import golden, linear
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import seeded
from unweave.losses import NegativeGuidance, NoiseTarget, Relabel, Surrogate, conditions
from unweave.tasks import Classification, Diffusion, Schedule


@pytest.mark.parametrize(
    "name",
    ["relabel", "relabel_current", "esd", "esd_from", "noise_target", "concept_ablation", "concept_ablation_noise"],
)
def test_losses_and_gradients_have_the_golden_values(
    name: str, vectors: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = golden(vectors("diffusion"))
    own, task = cases.all["batch"], cases.task()
    anchor = own["anchor"][0]
    assert own["anchor"] == [anchor] * 2
    if name.startswith("esd"):
        at = anchor if name == "esd_from" else None
        loss: Any = NegativeGuidance(task, cases.original, cases.settings(name)["eta"], at)
    elif name == "noise_target":
        drawn = torch.tensor(own["uniform"], dtype=torch.float64)
        monkeypatch.setattr(conditions, "uniform", lambda *_: drawn)
        loss = NoiseTarget(task)
    elif name == "concept_ablation_noise":
        loss = task.nll  # the concept's condition with an anchor image, which the batch holds
    else:
        loss = Relabel(task, cases.original if name == "relabel" else None, to=anchor)
    cases.check(name, loss(cases.model, cases.batch))


class Named(nn.Module):
    """Predicts the number of the condition, so that a target says whose it is."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        return self.scale * class_labels.view(-1, 1).expand_as(sample)


def batch(count: int, classes: int = 4) -> dict[str, Tensor]:
    return {"x0": torch.randn(count, 3), "condition": torch.arange(count) % classes}


def targets(loss: Any, data: dict[str, Tensor]) -> Tensor:
    """The target of each example, as the model that predicts 0 is that far away."""
    with seeded(4):
        return loss(Named(0.0), data).detach().sqrt().round().long()


def frozen(scale: float = 1.0) -> nn.Module:
    return Named(scale).eval().requires_grad_(False)


def test_a_random_condition_is_any_other_class_and_never_none() -> None:
    data = batch(4000)
    found = targets(Relabel(Diffusion(linear(10), null=4, dropout=0.5), frozen()), data)
    assert not bool((found == data["condition"]).any())
    counts = torch.stack([torch.bincount(found[data["condition"] == c], minlength=5) for c in range(4)])
    assert bool((counts[:, 4] == 0).all())
    others = counts[:, :4][~torch.eye(4, dtype=torch.bool)]
    assert bool(((others - 1000 / 3).abs() < 5 * (1000 * 2 / 9) ** 0.5).all())


def test_another_class_that_is_to_be_forgotten_stands_for_none() -> None:
    data, task = batch(4000), Diffusion(linear(10), null=4, others=torch.tensor([0, 3]))
    own, found = data["condition"], targets(Relabel(task, frozen()), data)
    assert bool((found[own == 0] == 3).all()) and bool((found[own == 3] == 0).all())
    for gone in (1, 2):
        share = float((found[own == gone] == 0).float().mean())
        assert set(found[own == gone].tolist()) == {0, 3} and abs(share - 0.5) < 5 * 0.5 / 1000**0.5
    assert targets(Relabel(task, frozen(), "next"), data).tolist() == [[3, 3, 3, 0][int(c)] for c in own]
    same = Diffusion(linear(10), null=4, others=torch.tensor([0, 1, 3]))  # of one class the draws stay what they were
    whole, kept = (targets(Relabel(each, frozen()), data)[own == 2] for each in (Diffusion(linear(10), null=4), same))
    assert torch.equal(whole, kept)
    with pytest.raises(
        ConfigurationError, match=r"a class that is kept \(0, 3\), or 4 for none; found 2, which is to be"
    ):
        Relabel(task, frozen(), 2)
    with pytest.raises(ConfigurationError, match="needs a class that is kept; found none"):
        Relabel(Diffusion(linear(10), null=4, others=torch.tensor([], dtype=torch.int64)), frozen())
    assert torch.equal(Diffusion(linear(10), null=4, others=torch.tensor([3, 0, 3])).others, torch.tensor([0, 3]))
    for to in ("random", "next"):  # of the one class that is kept, some examples are to be forgotten
        with pytest.raises(ConfigurationError, match="class 0, which examples to be forgotten have, is the only one"):
            targets(Relabel(Diffusion(linear(10), null=4, others=torch.tensor([0])), frozen(), to), data)


def test_the_next_condition_and_a_given_one() -> None:
    data, task = batch(40), Diffusion(linear(10), null=4)
    assert torch.equal(targets(Relabel(task, frozen(), "next"), data), (data["condition"] + 1) % 4)
    assert torch.equal(targets(Relabel(task, frozen(), 2), data), torch.full((40,), 2))


def test_negative_guidance_points_away_from_the_condition() -> None:
    data, task = batch(40), Diffusion(linear(10), null=4)
    found = targets(NegativeGuidance(task, frozen(), eta=1.0), data)
    assert torch.equal(found, 4 - (data["condition"] - 4))


def test_noise_that_is_drawn_has_its_distribution_and_is_not_the_noise_within() -> None:
    data = {"x0": torch.zeros(500, 8), "condition": torch.zeros(500).long()}
    seen: list[Tensor] = []

    def call(model: nn.Module, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        seen.append(x)
        return 0 * x * next(model.parameters())

    task = Diffusion(linear(1000), call=call)
    assert abs(NoiseTarget(task)(Named(), data).mean().item() - 1 / 3) < 0.02
    assert abs(NoiseTarget(task, "normal")(Named(), data).mean().item() - 1) < 0.1
    seen.clear()
    whole = {"x0": torch.full((500, 8), 9.0), "condition": torch.zeros(500).long()}
    Surrogate(Diffusion(Schedule(torch.full((10,), 1 - 1e-6)), call=call))(Named(), whole)  # next to no noise
    assert -1.01 < float(seen[0].min()) < -0.99 < 0.99 < float(seen[0].max()) < 1.01
    assert abs(float(seen[0].var()) - 1 / 3) < 0.02


def test_embeddings_are_relabelled_by_embeddings() -> None:
    def call(model: nn.Module, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return next(model.parameters()) * c.mean((1, 2))[:, None].expand_as(x)

    data = {"x0": torch.randn(6, 3), "condition": torch.zeros(6, 2, 5)}
    task = Diffusion(linear(10), null=torch.ones(2, 5), call=call)
    found = targets(Relabel(task, frozen(), torch.full((2, 5), 3.0)), data)
    assert found.tolist() == [3] * 6
    assert targets(NegativeGuidance(task, frozen()), data).tolist() == [2] * 6
    with pytest.raises(ConfigurationError, match="for classes, and the conditions are embeddings"):
        Relabel(task, frozen(), "next", classes=3)(Named(), data)
    with pytest.raises(ConfigurationError, match="embeddings \\[2, 5\\]; found a class"):
        Relabel(task, frozen(), 1)(Named(), data)


def test_the_current_model_gets_no_gradient_through_its_target() -> None:
    model = Named(2.0)
    Relabel(Diffusion(linear(10), null=4), None, 3)(model, batch(4)).sum().backward()
    assert model.scale.grad is not None
    own = torch.arange(4).float()
    assert float(model.scale.grad) == pytest.approx(float((2 * (2 * own - 6) * own).sum()))


def test_what_is_refused() -> None:
    task, other = Diffusion(linear(10)), Classification()
    for make in (lambda: Relabel(other, frozen()), lambda: NegativeGuidance(other, frozen()),
                 lambda: NoiseTarget(other), lambda: Surrogate(other)):  # fmt: skip
        with pytest.raises(UnsupportedError, match=r"needs tasks\.Diffusion; found Classification"):
            make()
    with pytest.raises(ConfigurationError, match="classes must be given for to='random'"):
        Relabel(task, frozen())
    with pytest.raises(ConfigurationError, match="Negative guidance needs the condition that means none"):
        NegativeGuidance(task, frozen())
    with pytest.raises(ConfigurationError, match=r"to must be .*; found 'nxt'"):
        Relabel(task, frozen(), "nxt")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"at must be .*; found -1"):
        NegativeGuidance(task, frozen(), at=-1)
    with pytest.raises(ConfigurationError, match="conditions up to 3"):
        Relabel(task, frozen(), classes=3)(Named(), batch(4))
    with pytest.raises(
        ConfigurationError, match="to must be a class that the model knows, 0 to 3, or 4 for none; found 5"
    ):
        Relabel(Diffusion(linear(10), null=4), frozen(), 5)
    with pytest.raises(ConfigurationError, match="at must be a class that the model knows, 0 to 3, or 4 for none"):
        NegativeGuidance(Diffusion(linear(10), null=4), frozen(), at=5)
    same = {**batch(4), "condition": torch.full((4,), 2)}
    with pytest.raises(ConfigurationError, match="the very condition that is to be forgotten"):
        Relabel(Diffusion(linear(10), null=4), frozen(), 2)(Named(), same)
    with pytest.raises(ConfigurationError, match=r"none \(null\) is the very condition that is to be forgotten"):
        NegativeGuidance(Diffusion(linear(10), null=2), frozen())(Named(), same)
