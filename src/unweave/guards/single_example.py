"""BatchNorm in training mode takes no batch of one: torch would say so in the middle of a run."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from unweave.data.batches import count, divided
from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError, gathered
from unweave.execution import bare, device_of, reshard, seeded
from unweave.modules import still
from unweave.samples import Data, Sample
from unweave.tasks import Task


def check_single_example(
    model: nn.Module, task: Task, forget: Data, retain: Data, pairs: Pairs, *, halved: bool = False
) -> None:
    """Runs one example alone, where a step would and a norm minds; the buffers stay as they are.

    Args:
        model: in the mode in which it will run.
        task: what it does.
        forget, retain: all that was given.
        pairs: what the steps will see.
        halved: a relearner sees halves of the forget side's micro-batches.

    Raises:
        ConfigurationError: a norm refuses a micro-batch, or half of one, of one example.
    """
    whole, half = bare(model), ("forget",) if halved else ()
    norms = [module for module in whole.modules() if isinstance(module, _BatchNorm) and module.training]

    @torch.no_grad()
    def alone(name: str, data: Data) -> None:
        batch = next(iter(Sample(data, most=1).batches(device_of(whole))))
        try:
            with still(whole), seeded(0):
                task.nll(whole, divided(batch, count(batch))[0])
        except ValueError as error:
            raise ConfigurationError(
                f"{name}: BatchNorm in training mode needs more than one example (or pixel) in "
                f"{'each half of a micro-batch, as the relearner takes them' if name in half else 'a micro-batch'}; "
                f"found one: {error}. Use a larger {name}_batch, fewer micro-batches or drop_last=True in a loader, "
                "or let the model run as it is evaluated (train_mode=False)."
            ) from error
        finally:
            reshard(model)

    if norms:
        sides = {"forget": forget, "retain": retain}
        lone = [name for name, least in pairs.smallest.items() if least // (2 if name in half else 1) == 1]
        gathered(*(lambda name=name: alone(name, sides[name]) for name in lone))
