"""The moving parts of one unlearning, which a checkpoint holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unweave import devices
from unweave.contract import Contract, Keeper, Sets
from unweave.contract.checks import check as check_contract
from unweave.contract.sets import Data, divide, hold_out, labels, subset
from unweave.data.batches import Batch, divided, moved
from unweave.data.pairs import Pairs, fetched
from unweave.errors import ConfigurationError
from unweave.loop import Progress, Stepper
from unweave.methods import Method, made
from unweave.modalities._base import Job
from unweave.oneshot import ONESHOT, OneShot
from unweave.parameters import Mask, choose, saliency_mask
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import RunSection
from unweave.recipe.steps import stepper
from unweave.run import checkpoint
from unweave.run.identity import check_same, identity
from unweave.store import tensors_sha256
from unweave.tasks import Known

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(eq=False)
class Session:
    """Model, method, step length and stream of pairs, at some step of a run.

    Attributes:
        recipe: resolved, as `identity.resolve` does.
        original: SHA-256 of the weights that it began with.
        progress: steps made so far, those of a resumed run included.
        seconds: how long the steps took that were made before this session.
        ended: why the loop ended; empty while it goes on, and when it was interrupted.
        keeper: of the contract, if the recipe has one.
        accelerator: of passes in another precision.
        fixed: names of the parameters that never move.
        warnings: what the guards found.
        files: SHA-256 of what lies beside the checkpoint and is read again, by name.
        probe: retain examples that no step trains on, in micro-batches, where the rule asks for them.
    """

    recipe: Recipe
    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer | Stepper
    pairs: Pairs
    original: str
    mask: Mask | None = None
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    ended: str = ""
    keeper: Keeper | None = None
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    accelerator: Accelerator | None = None
    fixed: frozenset[str] = frozenset()
    probe: Sequence[Batch] = ()

    @classmethod
    def start(
        cls,
        recipe: Recipe,
        job: Job,
        original: nn.Module,
        retrained: nn.Module | None = None,
        first: Callable[[], nn.Module] | None = None,
    ) -> Session:
        """At step 0, on what the job says is moved.

        Args:
            recipe: resolved.
            job: the data.
            original: what is unlearned.
            retrained: for the forget clause of that name.
            first: opens what the keep clauses compare with, where it is not the original: the first one of a sequence.
        """
        before = tensors_sha256(original.state_dict())
        settings, device = recipe.run, next(original.parameters()).device
        retain, keeper = _kept(recipe, job, retrained, first)
        once = OneShot(recipe.method.name, recipe.method.arguments) if recipe.method.name in ONESHOT else None
        if once is None:
            method = made(recipe.method.name, job.task, original, job.forget, recipe.method.arguments)
        else:
            method = once.read(job.task)
        probe: Sequence[Batch] = ()
        if method.rule.needs_probe:
            retain, probe = _probed(retain, settings, device)
        pairs = Pairs(
            job.forget,
            retain,
            forget_batch=settings.forget_batch,
            retain_batch=settings.retain_batch,
            micro=settings.micro,
            seed=settings.seed,
            device=device,
        )
        model = job.movable(original).train(settings.train_mode)
        accelerator = devices.accelerated(model, settings.precision, device)
        with choose(model, recipe.model.parameters):
            mask = None
            if method.saliency is not None:
                batches = (moved(b, device) for b in DataLoader(job.forget, batch_size=settings.forget_batch))
                mask = saliency_mask(model, job.task.nll, batches, method.saliency)
            step = stepper(recipe.step, model, mask) if once is None else once.step(job.task, job.forget, retain)
            named = model.named_parameters(remove_duplicate=False)  # tied embeddings have two names
            fixed = frozenset(name for name, p in named if not p.requires_grad)
        found: dict[str, Any] = {"keeper": keeper, "accelerator": accelerator, "fixed": fixed, "probe": probe}
        return cls(recipe, model, method, step, pairs, before, mask, **found)

    def state(self, seconds: float = 0.0) -> dict[str, dict[str, Any]]:
        """Everything that going on from here needs, between two steps; `seconds` is how long this session's took."""
        return {
            "model": self._moving(),
            "step": self.optimizer.state_dict(),
            "rule": self.method.rule.state_dict(),
            "pairs": self.pairs.state_dict(),
            "contract": {} if self.keeper is None else self.keeper.state_dict(),
            "random": checkpoint.rng_state(),
            "run": {
                "progress": asdict(self.progress),
                "seconds": self.seconds + seconds,
                "ended": self.ended,
                "warnings": list(self.warnings),
                "files": dict(self.files),
                "identity": identity(self.recipe),
                "original": self.original,
                "machine": self._machine(),
            },
        }

    def restore(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Continues where `state` was taken.

        Under other versions, or with other threads, the run goes on with a warning: numbers may differ in the last bit.

        Raises:
            ConfigurationError: the original model is not the one that the run began with.
        """
        run = states["run"]
        check_same({"original model": f"sha256 {run['original']}"}, {"original model": f"sha256 {self.original}"})
        here, there = self._machine(), run["machine"]
        if differs := [f"{key} {there.get(key)} -> {here[key]}" for key in here if here[key] != there.get(key)]:
            warnings.warn(
                f"resumed elsewhere ({', '.join(differs)}): weights may differ in the last bits from those of a run "
                "that was never interrupted",
                stacklevel=2,
            )
        with torch.no_grad():
            own = self._moving()
            if differing := sorted(own.keys() ^ states["model"].keys()):
                raise ConfigurationError(f"the checkpoint is of another model: only one of the two has {differing[0]}")
            for name, tensor in own.items():
                tensor.copy_(states["model"][name])
        self.optimizer.load_state_dict(states["step"])
        self.method.rule.load_state_dict(states["rule"])
        self.pairs.load_state_dict(states["pairs"])
        if self.keeper is not None:
            self.keeper.load_state_dict(states["contract"])
        self.progress, self.seconds, self.ended = Progress(**run["progress"]), run["seconds"], run["ended"]
        self.warnings, self.files = list(run["warnings"]), dict(run.get("files", {}))
        checkpoint.set_rng_state(states["random"])

    def _moving(self) -> dict[str, Tensor]:
        """The model without what never moves; a tensor with two names has the first."""
        found: dict[str, Tensor] = {}
        places = set()
        for name, tensor in self.model.state_dict().items():
            place = tensor.data_ptr(), tensor.shape
            if name not in self.fixed and not (tensor.numel() and place in places):
                found[name] = tensor
                places.add(place)
        return found

    def _machine(self) -> dict[str, Any]:
        return {key: value for key, value in self.recipe.environment.items() if key not in ("created", "data")}


def _kept(
    recipe: Recipe, job: Job, retrained: nn.Module | None, first: Callable[[], nn.Module] | None
) -> tuple[Data, Keeper | None]:
    """What is left of the retain set to train on, and the keeper; all of it and None without a contract."""
    if recipe.contract is None:
        return job.retain, None
    settings, contract = recipe.run, recipe.contract.contract()
    retain, sets = contract_sets(contract, job, settings.seed)
    return retain, Keeper(
        contract,
        job.task,
        sets,
        per_step=settings.forget_batch + settings.retain_batch,
        retrained=retrained,
        first=first,
        seed=settings.seed,
    )


def _probed(retain: Data, settings: RunSection, device: torch.device) -> tuple[Data, list[Batch]]:
    """What is left of the retain set to train on, and a batch of the others, a tenth of the set at most."""
    total = len(retain)  # type: ignore[arg-type]
    size = max(1, min(settings.retain_batch, total // 10))
    train, rows, _ = divide(total, labels(retain), size, 0, settings.seed)
    with torch.random.fork_rng(devices=[]):
        batch = moved(fetched(retain, torch.from_numpy(rows)), device)  # type: ignore[arg-type]
    return subset(retain, train), divided(batch, min(settings.micro, size))  # type: ignore[arg-type]


def check_readable(recipe: Recipe, job: Job) -> None:
    """Refuses a contract whose clauses the data of the job cannot be read for, before anything is trained.

    Raises:
        ConfigurationError: everything that is missing.
    """
    if recipe.contract is not None:
        contract = recipe.contract.contract()
        sets = contract_sets(contract, job, recipe.run.seed)[1]
        forgets = contract.forgets(sets.whole_class)
        check_contract(contract.keeps(Known(job.task).utility), forgets, sets, retrained=True)


def contract_sets(contract: Contract, job: Job, seed: int) -> tuple[Data, Sets]:
    """What is left of the retain set to train on, and all sets that the contract reads."""
    keeps = contract.keeps(Known(job.task).utility)
    retain, given = job.divided()
    return hold_out(contract, keeps, retain, forget=job.forget, holdout=job.holdout, **given, seed=seed)
