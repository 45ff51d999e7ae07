"""What a call from Python leaves, as a recipe's run leaves it: scores of both models, a folder, a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from unweave import arguments as takes
from unweave import devices
from unweave.data.checks import check_apart, check_overlap
from unweave.data.loaders import opened
from unweave.errors import ConfigurationError, UnsupportedError, shown
from unweave.samples import Data, Sample
from unweave.tasks import Task

if TYPE_CHECKING:
    from unweave.evaluation import Score
    from unweave.results import Result

Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Call:
    """What was called, kept by its result: the model as it was, the data, and what the call was told.

    Attributes:
        original: None where the model itself was unlearned.
        task, forget, retain: as of the call.
        unseen: examples that the model was never trained on; None where none were given.
        retrained: a model retrained without the forget set; None where none was given.
        told: what else it was told, by the names of its arguments.
        seed: of the scores.
    """

    original: nn.Module | None
    task: Task
    forget: Data
    retain: Data
    unseen: Data | None
    retrained: nn.Module | None
    told: Mapping[str, Any]
    seed: int = 0

    def __post_init__(self) -> None:
        assert self._versions is not None, "which are kept from here on"

    @cached_property
    def _versions(self) -> list[int]:
        """How often each tensor of the original was written to."""
        return [] if self.original is None else [each._version for each in self.original.state_dict().values()]

    @property
    def _told(self) -> Json:
        """As it is written: numbers and names, and of anything else what it is."""
        plain = (int, float, str, bool, type(None))
        return {name: value if isinstance(value, plain) else shown(value) for name, value in self.told.items()}

    def scores(self, result: Result, test: Data | None = None) -> dict[str, dict[str, Score]]:
        """See `Result.scores`."""
        from unweave.evaluation import score

        unseen = self.unseen if test is None else test
        if unseen is None:
            raise ConfigurationError(
                "scores need examples that the model was never trained on: pass test=..., or holdout=... to the call"
            )
        self._check(test)
        if self.original is not None and self._versions != [t._version for t in self.original.state_dict().values()]:
            raise ConfigurationError(
                "the model that the call was given was changed since: it is not the original any more. Make scores and "
                "pages first, or give the call a copy"
            )
        models = {"original": self.original, "unlearned": result.model, "retrained": self.retrained}
        sets = {"forget": self.forget, "retain": self.retain, "test": unseen}
        return {
            name: score(model, self.task, **sets, seed=self.seed)  # type: ignore[arg-type]
            for name, model in models.items()
            if model is not None
        }

    def _check(self, test: Data | None) -> None:
        """Of examples that the call had not seen."""
        takes.refuse([fault] if test is not None and (fault := takes.examples("test", test)) else [])
        sets = {"forget": self.forget, "retain": self.retain, "test": test}
        read = {name: data for name, each in sets.items() if each is not None and (data := opened(each)) is not None}
        if test is not None and (own := read.pop("test", None)) is not None:
            check_apart({"test": own}, read)
            if len(read) == 2:
                check_overlap(read["forget"], read["retain"], {"test": own})

    def save(self, result: Result, folder: Path, test: Data | None = None) -> Path:
        """See `Result.save`."""
        import safetensors.torch

        from unweave.run import directory
        from unweave.run.steps_log import line
        from unweave.store import atomically, strict, write_json

        files = self._files(result, test)
        with directory.claimed(folder):
            if folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir()):
                raise ConfigurationError(f"{folder} is not empty: choose a new folder, or empty this one")
            tensors = {name: t.detach().cpu().contiguous().clone() for name, t in result.model.state_dict().items()}
            atomically(folder / "model" / "model.safetensors", safetensors.torch.save(tensors))
            atomically(folder / "recipe.yaml", files["recipe"].encode())
            lines = (json.dumps(strict(line(record)), allow_nan=False) for record in result.history)
            atomically(folder / "steps.jsonl", "".join(f"{each}\n" for each in lines).encode())
            write_json(folder / "scores.json", files["scores"])
            write_json(folder / directory.SUMMARY, directory.sealed(folder, files["summary"]))
        return folder

    def report(self, result: Result, path: Path, test: Data | None = None) -> Path:
        """See `Result.report`."""
        from unweave.report.run_page import Run, page
        from unweave.run import directory
        from unweave.run.steps_log import line
        from unweave.store import strict

        if path.is_dir():
            raise ConfigurationError(f"{path}: expected a file to write the page to, such as page.html; it is a folder")
        files = self._files(result, test)
        steps = [strict(line(record)) for record in result.history]
        directory.creatable(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        page(Run(strict(files["summary"]), files["scores"], steps, files["recipe"])).write(path)
        return path

    def _files(self, result: Result, test: Data | None) -> dict[str, Any]:
        from unweave.evaluation import gaps
        from unweave.evaluation.gap import GAP_METRICS
        from unweave.recipe.yaml_lines import dump
        from unweave.run.outcome import plain

        if self.original is None:
            raise UnsupportedError(
                "a report compares with the original, and the call unlearned the model itself: call it without inplace"
            )
        sheets = self.scores(result, test)
        reference, others = sheets.get("retrained"), {}
        if reference is not None:
            names = [name for name, each in reference.items() if each.unit == "share"]
            names = list(GAP_METRICS) if set(GAP_METRICS) <= reference.keys() else names
            others = {name: gaps(each, reference, names) for name, each in sheets.items() if name != "retrained"}
        head = "# A call from Python. A recipe that says the same names functions that make data and model.\n"
        found = {"models": plain(sheets), "gaps": plain(others)}
        return {"recipe": head + dump({"call": self._told}), "scores": found, "summary": self._summary(result)}

    def _summary(self, result: Result) -> Json:
        from unweave.run.environment import environment, now
        from unweave.store import tensors_sha256

        assert self.original is not None, "checked"
        before, after = (tensors_sha256(m.state_dict()) for m in (self.original, result.model))
        diverged, contract = result.reason.startswith("diverged"), result.contract
        unchanged = before == after and contract is None
        sizes = {"forget": Sample(self.forget).examples, "retain": Sample(self.retain).examples}
        ended = "interrupted" if result.reason == "interrupted" else "diverged" if diverged else ""
        return {
            "status": ended or ("unchanged" if unchanged else "done"),
            "stop_reason": result.reason,
            "contract": [] if contract is None else contract.clauses(),
            "contract_reading": None if contract is None else contract.reading(),
            "method": self._told["method"],
            "request": f"{sizes['forget']} examples",
            **sizes,
            "steps": result.progress.made,
            "rejected": result.progress.rejected,
            "skipped": result.progress.skipped,
            "seconds": result.seconds,
            "retrain_seconds": None,
            "efficiency": None,
            "peak_memory_bytes": devices.peak(devices.CPU),
            "model_before": before,
            "model_after": after,
            "warnings": list(result.warnings),
            "created": now(),
            "environment": environment(),
        }
