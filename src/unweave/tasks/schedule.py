"""How much noise a diffusion model sees at each timestep, and what its output means."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError, shown, suggest

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The signal that is left at each of T timesteps, `x_t = sqrt(a_t) x0 + sqrt(1 - a_t) e`, and what a model says.

    Attributes:
        alphas_cumprod: `a_t`, `[T]`, in [0, 1), never rising; kept in float64.
        prediction: what the model's output is compared with: "epsilon" is the noise e, "v_prediction" is
            `sqrt(a_t) e - sqrt(1 - a_t) x0` (Salimans and Ho, 2022), "sample" is x0. For a given x_t they are affine in
            each other; squared errors differ, `MSE_v = MSE_e / a_t` and `MSE_x0 = MSE_e / SNR`.
        clip: what a sampler cuts the x0 of a step to, [-clip, clip]: images, 1; None where nothing is cut (latents).

    Raises:
        ConfigurationError: the values are no such schedule, or noise is predicted where no signal is left (a_T = 0).

    Ho et al., Denoising diffusion probabilistic models, NeurIPS 2020 (arXiv:2006.11239), equation 4.
    """

    alphas_cumprod: Tensor
    prediction: Prediction = "epsilon"
    clip: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, alphas_cumprod=_falling, clip="(0, inf)")
        object.__setattr__(self, "alphas_cumprod", self.alphas_cumprod.detach().cpu().double())
        if self.prediction == "epsilon" and float(self.alphas_cumprod[-1]) == 0:
            raise ConfigurationError(
                "prediction: epsilon cannot be learned where nothing but noise is left, and alphas_cumprod ends at 0 "
                "(rescale_betas_zero_snr). Such models predict v: prediction='v_prediction'."
            )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Schedule:
        """From a scheduler's configuration as diffusers writes it (`scheduler_config.json`).

        Where a key is missing it has diffusers' default: 1000 timesteps, "linear" from 1e-4 to .02, "epsilon".

        Raises:
            ConfigurationError: the configuration is of a kind that is not known (flow matching, exponential betas), or
                its numbers give no schedule.
        """
        name, kind = str(config.get("_class_name", "")), config.get("prediction_type", "epsilon")
        if "Flow" in name or "flow" in str(kind) or "shift" in config:
            raise ConfigurationError(
                f"the scheduler {name or 'given'} is for flow matching, x_t = (1 - s) x0 + s e, which is not known "
                "here: take a model of the kinds epsilon, v_prediction or sample."
            )
        if name not in _USUAL and not SAYS & config.keys():
            raise ConfigurationError(
                f"the scheduler {name} says nothing of betas ({', '.join(sorted(SAYS))}): its noise is of another "
                "kind than x_t = sqrt(a_t) x0 + sqrt(1 - a_t) e, or has to be said. Give its trained_betas."
            )
        if kind not in get_args(Prediction):
            known = get_args(Prediction)
            raise ConfigurationError(
                f"prediction_type must be one of {', '.join(known)}; found {shown(kind)}.{suggest(str(kind), known)}"
            )
        clipped = config.get("clip_sample", name in _CLIPPING)
        return cls(_cumulated(config), kind, float(config.get("clip_sample_range", 1.0)) if clipped else None)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        told = repr((self.prediction, self.clip)).encode()
        return hashlib.sha256(told + self.alphas_cumprod.numpy().tobytes()).hexdigest()

    def noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`x_t`, and the target `y` that goes with it; `x0` and `noise` `[b, ...]`, `t` `[b]`."""
        a = self.alphas_cumprod.to(x0.device)[t].view(-1, *[1] * (x0.ndim - 1))
        alpha, sigma = a.sqrt().to(x0.dtype), (1 - a).sqrt().to(x0.dtype)
        x_t = alpha * x0 + sigma * noise
        if self.prediction == "epsilon":
            return x_t, noise
        return x_t, x0 if self.prediction == "sample" else alpha * noise - sigma * x0

    def snr(self, t: Tensor) -> Tensor:
        """`a_t / (1 - a_t)`, `[b]`, float64."""
        a = self.alphas_cumprod.to(t.device)[t]
        return a / (1 - a)

    def min_snr(self, t: Tensor, gamma: float) -> Tensor:
        """The min-SNR weight of each timestep, `[b]`, float64.

        `min(SNR, g) / SNR` for epsilon, `min(SNR, g) / (SNR + 1)` for v, `min(SNR, g)` for x0 (Hang et al., ICCV 2023,
        arXiv:2303.09556, section 3.4).
        """
        snr = self.snr(t)
        if self.prediction == "epsilon":
            return (gamma / snr).clamp(max=1.0)
        least = snr.clamp(max=gamma)
        return least if self.prediction == "sample" else least / (snr + 1)


def _falling(name: str, given: Any) -> str:
    """What alphas_cumprod must be."""
    words = f"{name} must be a tensor [T] of numbers in [0, 1) that never rise"
    if not isinstance(given, Tensor) or given.ndim != 1 or not len(given) or not given.is_floating_point():
        found = f"{list(given.shape)} of {given.dtype}" if isinstance(given, Tensor) else shown(given)
        return f"{words}; found {found}."
    values = given.detach().double()
    if not bool(((values >= 0) & (values < 1)).all()) or bool((values.diff() > 0).any()):
        return f"{words}; found values from {float(values[0]):.4g} to {float(values[-1]):.4g}. Betas are not meant."
    return ""


def _cumulated(config: Mapping[str, Any]) -> Tensor:
    """`prod (1 - beta)`, `[T]`, float64."""
    kind, given = config.get("beta_schedule", "linear"), config.get("trained_betas")
    if given is None and kind not in _BETAS:
        raise ConfigurationError(
            f"beta_schedule must be one of {', '.join(_BETAS)}; found {shown(kind)}. Give trained_betas instead."
        )
    if given is not None and not (isinstance(given, list | tuple) and all(isinstance(b, int | float) for b in given)):
        raise ConfigurationError(f"trained_betas must be a list of numbers in (0, 1); found {shown(given)}.")
    try:
        count = int(config.get("num_train_timesteps", 1000))
        low, high = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
        betas = torch.as_tensor(given).double() if given is not None else _BETAS[kind](low, high, count)
        values = (1 - betas).cumprod(0)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"the scheduler's configuration gives no betas: {error}") from error
    if config.get("rescale_betas_zero_snr"):  # Lin et al., 2023 (arXiv:2305.08891), algorithm 1
        roots = values.sqrt()
        values = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()
    return values


def _cosine(low: float, high: float, count: int) -> Tensor:
    """Nichol and Dhariwal (arXiv:2102.09672), equation 17; betas at most .999."""

    def left(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    return torch.tensor([min(1 - left((i + 1) / count) / left(i / count), 0.999) for i in range(count)]).double()


SAYS = {"beta_start", "beta_end", "beta_schedule", "trained_betas"}
_USUAL = ("", "DDIMScheduler", "DDPMScheduler", "PNDMScheduler")  # whose defaults are those of `of`
_CLIPPING = ("DDIMScheduler", "DDPMScheduler")  # of diffusers, which cut where nothing is said
_BETAS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": lambda low, high, count: torch.linspace(low, high, count, dtype=torch.float64),
    "scaled_linear": lambda low, high, count: torch.linspace(low**0.5, high**0.5, count, dtype=torch.float64).square(),
    "squaredcos_cap_v2": _cosine,
}
