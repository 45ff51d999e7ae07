"""The moving parts of one unlearning, which a checkpoint holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unweave import execution
from unweave.contract import Contract, Sets
from unweave.contract.sets import check as check_contract
from unweave.data.batches import Batch
from unweave.data.pairs import fetched
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import device_of
from unweave.footprint import check as check_memory
from unweave.footprint import leanest
from unweave.losses import DPO
from unweave.methods import Method, made
from unweave.modalities._base import Job
from unweave.oneshot import ONESHOT, OneShot
from unweave.parameters import tied
from unweave.pretrained import form_sha256
from unweave.recipe.open_sections import check_method
from unweave.recipe.recipe import Recipe
from unweave.recipe.steps import stepper
from unweave.repair import Repair
from unweave.results import Progress
from unweave.run import checkpoint
from unweave.run.identity import check_same, identity
from unweave.samples import Data
from unweave.sharded import assign, is_sharded, local
from unweave.store import tensors_sha256
from unweave.tasks import Known
from unweave.unlearning import Settings, Unlearning, assembled, held_out, kept, probed

_ORIGINAL = {"original": "original model", "form": "configuration of the original model"}


@dataclass(eq=False)
class Session:
    """An unlearning of a recipe, at some step of its run.

    Attributes:
        recipe: resolved, as `identity.resolve` does.
        parts: model, method, step and stream of pairs.
        original: SHA-256 of the weights that it began with.
        form: SHA-256 of what the configuration of that model says.
        fixed: names of the parameters that never move.
        repair: the second phase, if there is one.
        progress: steps made so far, those of a resumed run included.
        seconds: how long the steps took that were made before this session.
        ended: why the loop ended; empty while it goes on, and when it was interrupted.
        warnings: what the guards found.
        files: SHA-256 of what lies beside the checkpoint and is read again, by name.
    """

    recipe: Recipe
    parts: Unlearning
    original: str
    form: str
    fixed: frozenset[str] = frozenset()
    repair: Repair | None = None
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    ended: str = ""
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        recipe: Recipe,
        job: Job,
        original: nn.Module,
        retrained: nn.Module | None = None,
        first: Callable[[], nn.Module] | None = None,
        final: bool = True,
    ) -> Session:
        """At step 0, on what the job says is moved.

        Args:
            recipe: resolved.
            job: the data.
            original: what is unlearned.
            retrained: for the forget clause of that name.
            first: opens what the keep clauses compare with, where it is not the original: the first one of a sequence.
            final: whether the contract's final sets are read; not in a run that is one of several to choose from.
        """
        before, form = tensors_sha256(original.state_dict()), form_sha256(original)
        run, row, task, device = recipe.run, recipe.method, job.task, device_of(original)
        place = run.place
        if is_sharded(original):  # a checkpoint gathers what is sharded, and elsewhere lie parts of it
            if place not in ("auto", "device"):
                raise UnsupportedError(f"run.place: {place} is not for run.shard; leave one of them out.")
            place = "device"
        settings = Settings(
            run.forget_batch, run.retain_batch, run.micro, run.seed, run.train_mode,
            recipe.model.parameters, run.until, run.relearner, run.memory, place,
        )  # fmt: skip
        retain: Data = job.retain
        keeper, probe = None, tuple[Batch, ...]()
        if recipe.contract is not None:
            contract, (left, given) = recipe.contract.contract(), job.divided()
            sets = {"holdout": job.holdout, **given}
            retain, keeper = kept(
                contract, task, job.forget, left, settings, sets, retrained=retrained, first=first, final=final
            )
        once = row.name in ONESHOT
        method = OneShot(row.name, row.arguments) if once else made(row.name, task, original, job.forget, row.arguments)
        if isinstance(method, Method) and method.rule.needs_probe:
            retain, probe = probed(retain, settings, device)
        model = job.movable(original).train(run.train_mode)
        accelerator = execution.accelerated(model, run.precision, device)
        parts = assembled(
            model, task, job.forget, retain, settings,
            keeper=keeper, probe=probe, accelerator=accelerator, holdout=job.holdout,
        )  # fmt: skip
        with parts.ready():
            parts.make(method, partial(stepper, recipe.step, steps=run.steps))
            named = model.named_parameters(remove_duplicate=False)  # tied embeddings have two names
            still = tuple(name for name, p in named if not p.requires_grad)
            beside = (name for name in model.state_dict() if name.startswith(tuple(f"{each}." for each in still)))
            fixed = frozenset((*still, *beside))  # a weight in 4 bits has its scales beside it
        return cls(recipe, parts, before, form, fixed, parts.phases(run.repair, run.steps)[0])

    @property
    def model(self) -> nn.Module:
        """What moves."""
        return self.parts.model

    def state(self, seconds: float = 0.0) -> dict[str, dict[str, Any]]:
        """Everything that going on from here needs, between two steps; `seconds` is how long this session's took."""
        return {
            "model": self.moving(),
            "step": self.parts.step.state_dict(),
            "rule": self.parts.method.rule.state_dict(),
            "pairs": self.parts.pairs.state_dict(),
            "contract": {} if (keeper := self.parts.keeper) is None else keeper.state_dict(),
            **({} if self.repair is None else {"repair": self.repair.state_dict()}),
            "random": checkpoint.rng_state(),
            "run": {
                "progress": asdict(self.progress),
                "seconds": self.seconds + seconds,
                "ended": self.ended,
                "warnings": list(self.warnings),
                "files": dict(self.files),
                "identity": identity(self.recipe),
                "original": self.original,
                "form": self.form,
                "memory": self.parts.memory,
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
        now = {"original": self.original, "form": self.form}
        before = now | {key: run[key] for key in now if key in run}
        check_same(*({_ORIGINAL[key]: f"sha256 {digest}" for key, digest in each.items()} for each in (before, now)))
        here, there = self._machine(), {"processes": 1} | run["machine"]
        if differs := [f"{key} {there.get(key)} -> {here[key]}" for key in here if here[key] != there.get(key)]:
            warnings.warn(
                f"resumed elsewhere ({', '.join(differs)}): weights may differ in the last bits from those of a run "
                "that was never interrupted",
                stacklevel=2,
            )
        with torch.no_grad():
            own = self.moving()
            if differing := sorted(own.keys() ^ states["model"].keys()):
                raise ConfigurationError(f"the checkpoint is of another model: only one of the two has {differing[0]}")
            for name, tensor in own.items():
                assign(tensor, states["model"][name])
        self.parts.step.load_state_dict(states["step"])
        self.parts.method.rule.load_state_dict(states["rule"])
        self.parts.pairs.load_state_dict(states["pairs"])
        if self.parts.keeper is not None:
            self.parts.keeper.load_state_dict(states["contract"])
        if "repair" not in states:  # of a run that began without
            self.repair = None
        if self.repair is not None:
            self.repair.load_state_dict(states["repair"])
        self.progress, self.seconds, self.ended = Progress(**run["progress"]), run["seconds"], run["ended"]
        self.parts.memory = run.get("memory", "fast")  # others would round otherwise
        self.warnings, self.files = list(run["warnings"]), dict(run.get("files", {}))
        checkpoint.set_rng_state(states["random"])

    def moving(self) -> dict[str, Tensor]:
        """The model without what never moves; a tensor with two names has the first."""
        found: dict[str, Tensor] = {}
        places, again = set(), tied(self.model)
        for name, tensor in self.model.state_dict().items():
            place = local(tensor).data_ptr(), tensor.shape
            known = name in again if is_sharded(self.model) else tensor.numel() and place in places
            if name not in self.fixed and not known:
                found[name] = tensor
                places.add(place)
        return found

    def _machine(self) -> dict[str, Any]:
        found = {key: value for key, value in self.recipe.environment.items() if key not in ("created", "data")}
        return {"processes": 1} | found


def check_readable(recipe: Recipe, job: Job) -> None:
    """Refuses what the recipe alone did not tell and the data of the job do, before anything is trained.

    Raises:
        ConfigurationError: a method that the task refuses, that keeps more than it may or whose forget loss asks for
            answers that are not there, or a contract whose clauses the data cannot be read for.
    """
    check_method(recipe.method, job.task)
    if recipe.method.name not in ONESHOT:
        method = made(recipe.method.name, job.task, nn.Linear(1, 1), None, recipe.method.arguments)
        if isinstance(method.forget, DPO):
            method.forget.check(fetched(job.forget, torch.zeros(1, dtype=torch.int64)))
        if recipe.run.memory != "auto":
            check_memory(recipe.run.memory, leanest(method.rule, masked=method.saliency is not None))
    if recipe.contract is not None:
        contract = recipe.contract.contract()
        sets = contract_sets(contract, job, recipe.run.seed)[1]
        known = Known(job.task)
        forgets = contract.forgets(sets.whole_class, known.utility)
        check_contract(contract.keeps(known.utility), forgets, sets, retrained=True, known=known)


def check_decidable(recipe: Recipe, job: Job, original: nn.Module, advice: str) -> None:
    """Refuses limits that the guard set cannot decide at its level, which all share that it chooses among.

    Raises:
        ConfigurationError: with this advice.
    """
    keeper = Session.start(recipe, job, original, original, final=False).parts.keeper
    try:
        if keeper is not None:
            keeper.check(original)
    except ConfigurationError as error:
        raise ConfigurationError(error.faults, advice=advice) from error


def contract_sets(contract: Contract, job: Job, seed: int) -> tuple[Data, Sets]:
    """What is left of the retain set to train on, and all sets that the contract reads."""
    retain, given = job.divided()
    return held_out(contract, job.task, job.forget, retain, {"holdout": job.holdout, **given}, seed)
