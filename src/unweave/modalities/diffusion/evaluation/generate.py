"""Images that a diffusion model draws: the same for the same number, whatever is drawn beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unweave.arguments import natural, refuse
from unweave.data.draws import gaussian, numbers
from unweave.execution import device_of
from unweave.modules import evaluating
from unweave.tasks import Diffusion

BATCH = 256


@torch.no_grad()
def generate(
    model: nn.Module,
    task: Diffusion,
    conditions: Tensor,
    places: Tensor,
    shape: tuple[int, ...],
    steps: int = 20,
    guidance: float = 1.0,
    seed: int = 0,
    batch: int = BATCH,
) -> Tensor:
    r"""Images by DDIM without noise (eta = 0), `[n, *shape]`, on the CPU, in the scale of the training.

    From a timestep t to the next one s, with the model's prediction turned into noise e and image x0:

        x_s = sqrt(a_s) x0 + sqrt(1 - a_s) e,   e' = f_null + g (f_c - f_null)

    Timesteps are `j floor(T / steps)`, j = steps - 1 ... 0, and after the last one a = 1: diffusers' `DDIMScheduler`
    with `timestep_spacing="leading"`; x0 is cut to `schedule.clip`, where it is given. An image starts from noise that
    its number and the seed decide, so models are compared on the same noise, and a batch changes nothing but
    what floats round.

    Args:
        model: the denoiser; it stays as it is.
        task: how it is called, and its schedule.
        conditions: classes `[n]` or embeddings `[n, L, D]`.
        places: the number of each image, `[n]`, int64, at least 0.
        shape: of an image or latent.
        steps: passes, at most T.
        guidance: g; 1 is the model without guidance, anything else needs `task.null`.
        seed: of the noise.
        batch: images of one pass.

    Raises:
        ConfigurationError: a number is out of range, or there is guidance and no null condition.

    Song et al., ICLR 2021 (arXiv:2010.02502), equation 12; Ho and Salimans, 2022 (arXiv:2207.12598), equation 6.
    """
    refuse(_faults(task, conditions, places, steps, batch))
    if not len(places):
        return torch.empty(0, *shape)
    device, drawn = device_of(model), list[Tensor]()
    with evaluating(model):
        for own, number in zip(conditions.split(batch), places.split(batch), strict=True):
            x = gaussian(numbers(seed, number.cpu()), shape).to(device)
            drawn.append(_walked(model, task, x, own.to(device), steps, guidance).cpu())
    return torch.cat(drawn)


def _walked(model: nn.Module, task: Diffusion, x: Tensor, condition: Tensor, steps: int, guidance: float) -> Tensor:
    """From noise to an image."""
    total, kind = len(task.schedule), task.schedule.prediction
    stride = total // steps
    nothing = task.nothing(condition, "guidance") if guidance != 1 else None
    for place in range((steps - 1) * stride, -1, -stride):
        now = float(task.schedule.alphas_cumprod[place])
        then = float(task.schedule.alphas_cumprod[place - stride]) if place else 1.0
        t = torch.full((len(x),), place, dtype=torch.int64, device=x.device)
        found = _guided(model, task, x, t, condition, nothing, guidance)
        signal, noise = now**0.5, (1 - now) ** 0.5
        if kind == "epsilon":
            x0, e = (x - noise * found) / signal, found
        elif kind == "sample":
            x0, e = found, (x - signal * found) / noise
        else:
            x0, e = signal * x - noise * found, noise * x + signal * found
        if task.schedule.clip is not None:
            x0 = x0.clamp(-task.schedule.clip, task.schedule.clip)
        x = then**0.5 * x0 + (1 - then) ** 0.5 * e
    return x


def _guided(
    model: nn.Module, task: Diffusion, x: Tensor, t: Tensor, condition: Tensor, nothing: Tensor | None, guidance: float
) -> Tensor:
    """The prediction; with guidance, of one pass over both conditions."""
    if nothing is None:
        return task.seen(model, x, t, condition)
    both = task.seen(model, torch.cat((x, x)), torch.cat((t, t)), torch.cat((nothing, condition)))
    without, with_it = both.chunk(2)
    return without + guidance * (with_it - without)


def _faults(task: Diffusion, conditions: Tensor, places: Tensor, steps: int, batch: int) -> list[str]:
    total = len(task.schedule)
    found = [natural("steps", steps), natural("batch", batch)]
    if not found[0] and steps > total:
        found.append(f"steps must be at most the {total} timesteps of the schedule; found {steps}.")
    if places.shape != conditions.shape[:1]:
        found.append(f"places must be one number for each of {len(conditions)} conditions; found {list(places.shape)}.")
    return [each for each in found if each]
