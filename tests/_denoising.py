"""The model, batch and draws of the golden values of diffusion losses, and a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch
from unweave.tasks import Diffusion, Noised, Schedule


def linear(count: int) -> Schedule:
    """Betas from 1e-4 to .02 over so many timesteps."""
    return Schedule.of({"num_train_timesteps": count})


class Affine(nn.Module):
    """`f(x, t, c) = A x + E[c] (1 + t / T) + u t / T + b`."""

    def __init__(self, values: dict[str, Any], count: int) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))
        self.count = count

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        share = (timestep.double() / self.count)[:, None]
        return x @ self.A.T + self.E[class_labels] * (1 + share) + self.u * share + self.b


@dataclass(frozen=True, eq=False)
class Given(Diffusion):
    """The task with t and noise that are given instead of drawn."""

    t: Tensor | None = None
    noise: Tensor | None = None

    def draw(self, batch: Batch, *, dropout: bool = True, shares: tuple[float, float] = (0.0, 1.0)) -> Noised:
        assert self.t is not None
        assert self.noise is not None
        x_t, target = self.schedule.noised(batch["x0"], self.t, self.noise)
        return Noised(x_t, self.t, batch["condition"], target, torch.arange(len(x_t)))


@dataclass(frozen=True, eq=False)
class Golden:
    """All golden values, the model that moves, the original and the batch."""

    all: Any
    model: Affine
    original: Affine
    batch: dict[str, Tensor]

    def task(self, prediction: Any = "epsilon") -> Given:
        values, own = torch.tensor(self.all["alphas_cumprod"], dtype=torch.float64), self.all["batch"]
        noise = torch.tensor(own["noise"], dtype=torch.float64)
        return Given(Schedule(values, prediction), null=own["null"], t=torch.tensor(own["t"]), noise=noise)

    def case(self, name: str) -> Any:
        (found,) = [case for case in self.all["cases"] if case["name"] == name]
        return found

    def settings(self, name: str) -> Any:
        return self.case(name)["settings"]

    def check(self, name: str, losses: Tensor) -> None:
        """Each loss, and the gradient of their mean."""
        case, near = self.case(name), {"rtol": self.all["tolerance"], "atol": self.all["tolerance"]}
        torch.testing.assert_close(losses.detach(), torch.tensor(case["losses"], dtype=torch.float64), **near)
        named = dict(self.model.named_parameters())
        assert set(named) == set(case["gradient_of_mean"])
        for each, found in zip(named, torch.autograd.grad(losses.mean(), list(named.values())), strict=True):
            torch.testing.assert_close(found, torch.tensor(case["gradient_of_mean"][each], dtype=torch.float64), **near)


def golden(values: Any) -> Golden:
    own, count = values["batch"], values["T"]
    batch = {"x0": torch.tensor(own["x0"], dtype=torch.float64), "condition": torch.tensor(own["condition"])}
    original = Affine(values["theta0"], count).eval().requires_grad_(False)
    return Golden(values, Affine(values["theta"], count), original, batch)
