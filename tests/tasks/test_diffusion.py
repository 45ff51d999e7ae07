"""The denoising task: golden values, schedules, random numbers that nothing changes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests._denoising import golden, linear
from unweave.data.draws import gaussian, numbers
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.execution import reseeded, seeded
from unweave.tasks import Diffusion, Schedule

LOSSES = ("nll_eps", "nll_v", "nll_x0", "min_snr_eps", "min_snr_v", "min_snr_x0", "divergence", "guided")
KINDS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_have_the_golden_values(name: str, vectors: Callable[[str], Any]) -> None:
    cases = golden(vectors("diffusion"))
    task = cases.task(KINDS.get(name.rsplit("_", 1)[-1], "epsilon"))
    if name.startswith("min_snr"):
        task = replace(task, weighting="min_snr", gamma=cases.settings(name)["gamma"])
    if name == "divergence":
        losses = task.divergence(cases.model, cases.original, cases.batch)
    elif name == "guided":
        noised = task.draw(cases.batch)
        nothing = task.predict(cases.model, noised, task.nothing(noised.condition, "guidance"))
        told = nothing + cases.settings(name)["scale"] * (task.predict(cases.model, noised) - nothing)
        losses = task.reduced((told - noised.target).square(), noised.t)
    else:
        losses = task.nll(cases.model, cases.batch)
    cases.check(name, losses)


def test_derived_values_are_golden(vectors: Callable[[str], Any]) -> None:
    cases = golden(vectors("diffusion"))
    noised, derived = cases.task("v_prediction").draw(cases.batch), cases.all["derived"]
    for found, name in ((noised.x_t, "x_t"), (noised.target, "v"), (cases.task().schedule.snr(noised.t), "snr")):
        torch.testing.assert_close(found, torch.tensor(derived[name], dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_draws_are_golden(vectors: Callable[[str], Any]) -> None:
    case = golden(vectors("diffusion")).case("draws")
    seeds = torch.tensor(case["seeds"])
    assert (numbers(seeds, torch.zeros_like(seeds)) % case["timesteps"]).tolist() == case["t"]
    found = gaussian(seeds, case["shape"])
    torch.testing.assert_close(found, torch.tensor(case["noise"]), rtol=0, atol=case["tolerance"])
    assert torch.equal(gaussian(seeds[1:2], case["shape"]), found[1:2])


def test_schedules_are_those_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    configs: list[dict[str, Any]] = [
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 50},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"trained_betas": [0.1, 0.2, 0.3]},
    ]
    for config in configs:
        theirs = diffusers.DDIMScheduler(**config)
        found = Schedule.of(theirs.config)
        torch.testing.assert_close(found.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=2e-5, atol=1e-7)
        assert found.prediction == theirs.config.prediction_type


def test_velocity_is_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(prediction_type="v_prediction")
    x0, noise, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0, 500, 999])
    x_t, target = Schedule.of(theirs.config).noised(x0, t, noise)
    torch.testing.assert_close(x_t, theirs.add_noise(x0, noise, t), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(target, theirs.get_velocity(x0, noise, t), rtol=1e-4, atol=1e-5)


def test_min_snr_is_finite_where_no_signal_is_left() -> None:
    last = torch.tensor([9])
    values = torch.cat((linear(10).alphas_cumprod[:-1], torch.zeros(1)))
    assert Schedule(values, "v_prediction").min_snr(last, 5.0).item() == 0
    assert Schedule(values, "sample").min_snr(last, 5.0).item() == 0
    with pytest.raises(ConfigurationError, match="v_prediction"):
        Schedule(values, "epsilon")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "flow matching"),
        ({"prediction_type": "flow_prediction"}, "flow matching"),
        ({"prediction_type": "epsilom"}, "Did you mean 'epsilon'"),
        ({"beta_schedule": "exp"}, "beta_schedule must be one of linear, scaled_linear"),
        ({"num_train_timesteps": "many"}, "gives no betas"),
        ({"beta_start": 2.0}, "in \\[0, 1\\)"),
    ],
)
def test_schedules_that_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Schedule.of(config)


@pytest.mark.parametrize("given", [torch.linspace(0.02, 0.9, 5), torch.ones(3), torch.arange(3), "linear"])
def test_what_is_no_schedule_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="never rise"):
        Schedule(given, "epsilon")


def _batch(b: int = 6) -> dict[str, Tensor]:
    return {"x0": torch.randn(b, 1, 4, 4), "condition": torch.arange(b) % 3}


class Net(nn.Module):
    """A tiny denoiser with a row for each condition, called as `UNet2DModel` is."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.rows = nn.Embedding(4, 16)
        self.out = nn.Linear(17, 16 * channels)

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        mixed = sample.flatten(1) + self.rows(class_labels)
        return self.out(torch.cat((mixed, timestep[:, None].to(mixed) / 10), 1)).view(len(sample), -1, 4, 4)


def test_an_example_gives_the_same_in_any_batch() -> None:
    task, model, batch = Diffusion(linear(10), null=3, dropout=0.5, looks=3), Net(), _batch()
    seeds = torch.arange(6) * 1_000_003

    def losses(parts: list[list[int]]) -> Tensor:
        batches = [{k: v[rows] for k, v in batch.items()} for rows in parts]
        pair = Pair(batches, batches, 0, ([seeds[rows] for rows in parts], []))
        found = []
        for micro, own in enumerate(batches):
            with reseeded(pair, 0, micro):
                found.append(task.nll(model, own))
        return torch.cat(found)

    whole = losses([[0, 1, 2, 3, 4, 5]])
    torch.testing.assert_close(losses([[0], [1, 2], [3, 4, 5]]), whole, rtol=1e-6, atol=0)
    with seeded(0):
        assert not torch.allclose(task.nll(model, batch), whole), "and another draw gives another loss"


def test_looks_are_stratified() -> None:
    noised = Diffusion(linear(1000), looks=5).draw(_batch(50))
    assert torch.equal((noised.t.view(50, 5) // 200), torch.arange(5).expand(50, 5))
    assert len(torch.unique(noised.t)) > 150
    assert abs(float(noised.target.mean())) < 0.06
    assert abs(float(noised.target.std()) - 1) < 0.05


def test_the_mean_of_looks_is_the_mean_of_their_losses() -> None:
    task, model, batch = Diffusion(linear(10), looks=4), Net(), _batch(3)
    with seeded(1):
        found = task.nll(model, batch)
    with seeded(1):
        noised = task.draw(batch)
    each = (task.predict(model, noised) - noised.target).square().flatten(1).mean(1)
    torch.testing.assert_close(found, each.view(3, 4).mean(1))


def test_conditions_are_dropped_as_often_as_asked() -> None:
    batch = _batch(2000)
    dropped = Diffusion(linear(10), null=3, dropout=0.1).draw(batch)
    share = float((dropped.condition == 3).float().mean())
    assert abs(share - 0.1) < 4 * (0.09 / 2000) ** 0.5
    assert torch.equal(
        Diffusion(linear(10), null=3, dropout=0.1).draw(batch, dropout=False).condition, batch["condition"]
    )
    rows = {"x0": torch.randn(400, 3), "condition": torch.ones(400, 2, 5)}
    some = Diffusion(linear(10), null=torch.zeros(2, 5), dropout=0.5).draw(rows).condition
    assert set(some.mean((1, 2)).tolist()) == {0.0, 1.0}, "a text is dropped whole"


def test_the_score_looks_at_little_noise_and_drops_nothing() -> None:
    seen: list[Tensor] = []

    def call(model: nn.Module, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        seen.append(t)
        assert bool((c < 3).all())
        return torch.zeros_like(x)

    task = Diffusion(linear(1600), null=3, dropout=0.9, call=call)
    found = task.score(Net(), _batch(20))
    assert found.shape == (20,)
    assert bool((found < 0).all())
    assert int(seen[0].max()) < 800
    eighths = seen[0].view(20, 8) // 100
    assert torch.equal(eighths, torch.arange(8).expand(20, 8))


def test_a_reading_takes_eight_looks_at_all_timesteps_and_drops_nothing() -> None:
    seen: list[Tensor] = []

    def call(model: nn.Module, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        seen.append(t)
        assert bool((c < 3).all())
        return torch.zeros_like(x)

    task = Diffusion(linear(1600), null=3, dropout=0.9, call=call)
    assert task.reading(Net(), _batch(20)).shape == (20,) and task.reading_passes == 8
    assert torch.equal(seen[0].view(20, 8) // 200, torch.arange(8).expand(20, 8))


def test_learned_variance_is_split_off() -> None:
    task, model = Diffusion(linear(10)), Net(channels=2)
    noised = task.draw(_batch())
    whole = model(noised.x_t, noised.t, noised.condition)
    assert torch.equal(task.predict(model, noised), whole[:, :1])
    task.nll(model, _batch()).mean().backward()
    assert float(model.out.weight.grad[16:].abs().max()) == 0  # type: ignore[index]


def test_half_precision_models_give_losses_in_float32() -> None:
    assert Diffusion(linear(10)).nll(Net().bfloat16(), _batch()).dtype == torch.float32


class Wrong(nn.Module):
    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor) -> Any:
        return self.shape if isinstance(self.shape, str) else torch.zeros(self.shape)


@pytest.mark.parametrize(
    ("batch", "model", "words"),
    [
        ((torch.randn(2, 1, 4, 4), torch.zeros(2).long()), Net(), "found tuple"),
        ({"x0": torch.randn(2, 1, 4, 4)}, Net(), "no tensor condition among x0"),
        ({"x0": torch.randn(2, 1, 4, 4), "condition": torch.zeros(3).long()}, Net(), "2 classes"),
        ({"x0": torch.randn(2, 1, 4, 4), "condition": torch.zeros(2)}, Net(), "classes \\[b\\] \\(integers\\)"),
        ({"x0": torch.zeros(2, 1, 4, 4).byte(), "condition": torch.zeros(2).long()}, Net(), "as floats"),
        ({"x0": torch.randn(2, 1, 4, 4), "condition": torch.tensor([0, 4])}, Net(), "conditions from 0 to 4"),
        ({"x0": torch.randn(2, 1, 4, 4), "condition": torch.tensor([0, -1])}, Net(), "conditions from -1 to 0"),
        ({"x0": torch.randn(2, 1, 4, 4), "condition": torch.zeros(2, 3, 5)}, Net(), "takes class_labels"),
        (_batch(2), Wrong((2, 3, 4, 4)), "returned \\[2, 3, 4, 4\\]"),
        (_batch(2), Wrong("nothing"), "returned str"),
        (_batch(2), nn.Linear(4, 4), "say how the model is called"),
    ],
)
def test_what_cannot_be_read_is_refused(batch: Any, model: nn.Module, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Diffusion(linear(10)).nll(model, batch)


def test_arguments_are_refused_together() -> None:
    with pytest.raises(ConfigurationError) as found:
        Diffusion("linear", dropout=2.0, gamma=0.0, looks=0, weighting="snr", call=3)  # type: ignore[arg-type]
    told = str(found.value)
    for name in ("schedule", "dropout", "gamma", "looks", "weighting", "call", "dropout needs null"):
        assert name in told


def test_models_of_diffusers_are_called_by_their_signature() -> None:
    diffusers = pytest.importorskip("diffusers")
    size = {"sample_size": 4, "in_channels": 1, "block_out_channels": (8, 8), "norm_num_groups": 4}
    unet = diffusers.UNet2DModel(
        **size, out_channels=1, layers_per_block=1, num_class_embeds=4, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    text = diffusers.UNet2DConditionModel(
        **size, out_channels=1, layers_per_block=1, cross_attention_dim=8, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=1, out_channels=2, num_layers=1, norm_num_groups=1,
        sample_size=4, patch_size=2, num_embeds_ada_norm=3,
    )  # fmt: skip
    task, batch = Diffusion(linear(10)), _batch(2)
    embedded = {**batch, "condition": torch.randn(2, 3, 8)}
    for model, own in ((unet, batch), (text, embedded), (dit, batch)):
        losses = task.nll(model.eval(), own)
        assert losses.shape == (2,)
        assert bool(losses.isfinite().all())
    for model, past in ((unet, 4), (dit, 4)):
        with pytest.raises(ConfigurationError, match="4 conditions \\(0 to 3\\); the batch has conditions from 4 to 4"):
            task.nll(model, {**batch, "condition": torch.full((2,), past)})
