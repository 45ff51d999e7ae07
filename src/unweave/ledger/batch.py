"""Open requests are carried out together, under one contract; each ends in a certificate or a rejection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unweave.contract.reading import state_of
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.ledger.begin import TAKEN, begin, digest
from unweave.ledger.book import Batch
from unweave.ledger.chain import Entry
from unweave.ledger.decide import decide
from unweave.ledger.ledger import Ledger
from unweave.ledger.publish import publish
from unweave.ledger.retest import again
from unweave.ledger.selector import read_kept
from unweave.modalities import read, training_set
from unweave.recipe.yaml_lines import Document, load
from unweave.run import sequence
from unweave.run.interrupt import REASON
from unweave.run.runner import Promise, unheard
from unweave.store import file_sha256
from unweave.watch import Watch, silent


@dataclass(frozen=True)
class Outcome:
    """What a run of requests came to.

    Attributes:
        entries: certificates, rejections, and what was read again of earlier certificates, in order.
        interrupted: something is left to do: run again.
    """

    entries: tuple[Entry, ...]
    interrupted: bool

    @property
    def met(self) -> bool:
        """Every request is certified or covered, which was shown, and no earlier certificate was undone."""
        short = any(entry.kind == "rejection" or not entry.body.get("shown", True) for entry in self.entries)
        tests = [test for entry in self.entries for test in entry.body.get("tests", ())]
        return not short and all(state_of(test) != "missed" for test in tests)


def run(
    ledger: Ledger,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    together: bool = False,
    abandon: bool = False,
    watch: Watch = silent,
    promise: Promise = unheard,
) -> Outcome:
    """Carries out open requests, by due date, and puts on record what came of each.

    A batch that was interrupted is finished first, exactly where it was. The first batch starts from the recipe's
    model, every later one from the model that the last request left, without the rows of earlier ones.

    Args:
        ledger: whose requests.
        recipe: all of a run but `forget`; None: only finish what is under way.
        overrides: of keys of the recipe.
        names: of open requests; none: all of them.
        together: one run for all of them, their clauses read on all records together, instead of one after another.
        abandon: give up the batch that is under way, first; its requests are open again.
        watch, promise: as for a single run.

    Raises:
        ConfigurationError: there is nothing to do, a request names nothing, the recipe does not fit, it is another one
            than that of the batch under way, or another process runs requests.
    """
    with ledger.running():
        publish(ledger)
        entries: list[Entry] = []
        batch = ledger.read()[1].under_way
        asked = None if recipe is None else load(recipe).override(overrides)
        if batch is not None and abandon:
            _end(ledger, batch, "abandoned")
            if asked is None:
                return Outcome((), False)
            batch = None
        if batch is not None:
            told = batch.body["asked"], "together" in batch.body
            other = asked is not None and (digest(asked), together) != told
            if other or (names and {*names} != {*batch.body["requests"], *batch.body.get("beside", ())}):
                raise ConfigurationError(
                    f"batch {batch.id} is under way, with another recipe, other settings or other requests: finish it "
                    "with `unweave requests run` alone, or give it up with --abandon"
                )
        if batch is None:
            if recipe is None or asked is None:
                raise ConfigurationError("no batch is under way: give the RECIPE.yaml that open requests are run under")
            entries, batch = begin(ledger, asked, recipe.resolve().parent, names, digest(asked), together)
            publish(ledger)
        while batch is not None:
            made, batch, interrupted = _carry(ledger, batch, watch, promise)
            entries += made
            if interrupted:
                return Outcome(tuple(entries), True)
        return Outcome(tuple(entries), False)


def _carry(ledger: Ledger, batch: Batch, watch: Watch, promise: Promise) -> tuple[list[Entry], Batch | None, bool]:
    """What came of a batch, the next one if a request stopped it, and whether it was interrupted."""
    folder, file = ledger.folder / "runs" / batch.id, ledger.folder / batch.body["recipe"]["file"]
    if not file.is_file() or file_sha256(file) != batch.body["recipe"]["sha256"]:
        raise ConfigurationError(f"{file}: expected the recipe of batch {batch.id} as it was begun: put it back")
    if (gone := batch.body.get("gone")) is not None:
        read_kept(ledger.gone_file(batch.id), ledger.key, batch.id, gone["hmac"])
    recipe, failed = read(file), None
    try:
        if sequence.run(recipe, folder, resume=True, watch=watch, promise=promise)["status"] == REASON:
            return [], batch, True
    except InfeasibleError as error:
        failed = error
    except ConfigurationError as error:
        hint = "mend this and `unweave requests run` again, or give the batch up with --abandon"
        raise ConfigurationError([*error.faults, f"batch {batch.id} stays under way: {hint}"]) from error
    data = training_set(recipe)
    entries = decide(ledger, batch, recipe, data, lambda: publish(ledger))
    left = _waiting(ledger, batch.body["requests"])
    if failed is not None:
        stopped, left = (left, []) if "together" in batch.body else (left[:1], left[1:])
        entries += [_refused(ledger, batch, name, failed) for name in stopped]
    if (tested := again(ledger, batch, data, watch)) is not None:
        entries.append(tested)
    _end(ledger, batch, "done")
    following = None
    if left := left + _waiting(ledger, batch.body.get("beside", ())):
        content = {key: value for key, value in recipe.plain().items() if key not in TAKEN}
        if ledger.read()[1].model is not None:
            content["model"]["weights"] = None  # the ledger knows where it goes on from
        covered, following = begin(ledger, Document(content, file.name), ledger.folder, left, batch.body["asked"])
        publish(ledger)
        entries += covered
    return entries, following, False


def _waiting(ledger: Ledger, names: Sequence[str]) -> list[str]:
    """Those of these requests that have no outcome; one that was set aside meanwhile is none of them."""
    requests = ledger.read()[1].requests
    return [name for name in names if name in requests and requests[name].waits]


def _refused(ledger: Ledger, batch: Batch, name: str, error: InfeasibleError) -> Entry:
    reason = {"cause": "infeasible", "reason": f"infeasible under this contract: {error}"}
    return ledger.write(lambda book: ("rejection", {"request": name, "batch": batch.id, **reason}))


def _end(ledger: Ledger, batch: Batch, why: str) -> None:
    ledger.write(lambda book: ("end", {"batch": batch.id, "requests": batch.body["requests"], "why": why}))
