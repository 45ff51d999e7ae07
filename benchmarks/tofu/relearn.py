"""What brings forgotten answers back, and what could keep them from coming: ideas of `ideas.py` on tiny TOFU.

    python benchmarks/tofu/relearn.py --source FOLDER [--seeds 0 1 2] [--ideas NAME ...]
    python benchmarks/tofu/relearn.py --table

Two of 20 authors are forgotten, as in `run.py`. Every idea is chosen on seed 3, has one setting here, and the gradients
that stand beside it (2,000 where nothing else is said; retraining takes 6,160). One JSON line a run in
benchmarks/results/relearn.jsonl, what is there is skipped. Relearning is that of `measure.py`; the other attacks are in
`ATTACKS`.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import ideas
import torch
from measure import FORGET_BATCH, RETAIN_BATCH, Bench, Counter
from torch import nn
from world import AUTHOR, Rows, Size, World

from unweave.data.pairs import Pairs
from unweave.loop import unlearn
from unweave.losses import WGA, Misdirection, Relearned, Undial, Until, Weighted, frozen, unseen_level
from unweave.losses._base import Loss
from unweave.methods import Method
from unweave.modalities.texts.evaluation import Example, Relearning, encoder, examples
from unweave.modalities.texts.evaluation.forward import batch_of
from unweave.modalities.texts.evaluation.sheet import relearned
from unweave.modalities.texts.training import FORM
from unweave.rules import HAMU, Fixed, Rule
from unweave.tasks import Language

RESULTS = Path(__file__).parents[1] / "results" / "relearn.jsonl"
TASK = Language()
BUDGET = 2000.0
COLUMNS = {
    "relearned_probability": "relearned P",
    "steps 80": "80 steps",
    "slow": "60 at 3e-4",
    "author": "same author",
    "other author": "other author",
    "retain": "retain rows",
    "ks_distance": "KS distance",
    "forget_quality": "forget quality",
    "model_utility": "utility",
    "mia_loss": "MIA loss",
    "forget_probability": "forget P",
    "retain_probability": "retain P",
    "gradients": "gradients",
}
Start = tuple[nn.Module, float]  # the model that unlearning begins with, and what it took, in gradients


@dataclass(frozen=True)
class Idea:
    """One row.

    Attributes:
        forget: its forget loss, from a bench and WGA with an end.
        budget: gradients of single sequences, what the start took included.
        weight: of the forget side.
        lr: of AdamW.
        start: what unlearning begins with, if that is not the original.
        retain: its retain loss, if that is not the nll.
        rule: in the place of the fixed sum.
    """

    forget: Callable[[Lasting, Loss], Loss] = lambda bench, wga: wga
    budget: float = BUDGET
    weight: float = 1.0
    lr: float = 1e-3
    start: Callable[[Lasting], Start] | None = None
    retain: Callable[[Lasting], Loss] | None = None
    rule: Callable[[], Rule] | None = None


class Lasting(Bench):
    """A bench that also knows the model before, and attacks what has been unlearned."""

    def __init__(self, world: World) -> None:
        super().__init__(world, epochs=10)
        encode = encoder(world.tokenizer, FORM)
        rows = [{key: row[key] for key in ("question", "answer")} for row in world.data.retain]
        self.kept = examples(rows, encode)
        self.asked: Sequence[Example] = self.parts["forget"].examples
        unseen = [e.answer for e in self.parts["holdout"].examples]
        self.level = unseen_level(self.original, TASK, [batch_of(unseen)])

    def wga(self) -> Loss:
        """WGA with an end at the level of unseen answers."""
        return Until(WGA(TASK), TASK, self.level)

    def before(self) -> nn.Module:
        """What the original was trained from."""
        return self.world._kept("model before", self.world.data.before, self.world.size.before, 0, None)

    def unlearned(self, idea: Idea) -> Start:
        """The model, and the gradients it took."""
        start, spent = (self.original, 0.0) if idea.start is None else idea.start(self)
        counter = Counter(start)
        model = copy.deepcopy(counter.model)
        method = Method(
            idea.forget(self, self.wga()), TASK.nll if idea.retain is None else idea.retain(self),
            Fixed(idea.weight, 1.0) if idea.rule is None else idea.rule(), "",
        )  # fmt: skip
        pairs = Pairs(
            self.forget, self.retain, forget_batch=FORGET_BATCH, retain_batch=RETAIN_BATCH, seed=self.world.seed
        )
        left = idea.budget - spent
        stop = [lambda record: "the budget is spent" if counter.gradients >= left else None]
        unlearn(model, method, pairs, torch.optim.AdamW(model.parameters(), lr=idea.lr, weight_decay=0.0), stop=stop)
        ended = copy.deepcopy(self.original)
        ended.load_state_dict(model.state_dict())
        return ended, spent + counter.gradients

    def scores(self, model: nn.Module) -> dict[str, float | None]:
        """The sheet's, and one for each attack."""
        found = {name: score.value for name, score in self._sheet(model, self.reference).scores.items()}
        return found | {name: attack(self, model) for name, attack in ATTACKS.items()}

    def came_back(
        self, model: nn.Module, learned: Sequence[Example], asked: Sequence[Example], steps: int = 20, lr: float = 1e-3
    ) -> float:
        """Mean probability of the asked answers, per token, after the others were learned."""
        with relearned(model, learned, Relearning(rows=20, steps=steps, lr=lr)), torch.no_grad():
            return float((-TASK.nll(model, batch_of([e.answer for e in asked]))).exp().mean())

    def halves(self, seed: int) -> tuple[list[Example], list[Example]]:
        """What is learned, and what is asked."""
        return Relearning(rows=20, seed=seed).split(self.asked)

    def other_questions(self) -> Any:
        """The forget answers, behind questions of all authors."""
        data = self.world.data
        return self._rewritten("question", [*data.forget, *data.retain])

    def other_answers(self) -> Any:
        """The forget questions, with answers of other authors."""
        return self._rewritten("answer", self.world.data.retain)

    def _rewritten(self, column: str, others: Rows) -> Any:
        """Each forget row four times, with one column of rows drawn from others."""
        rows = self.world.data.forget
        generator = torch.Generator().manual_seed(1)
        drawn = torch.randint(len(others), (4 * len(rows),), generator=generator).tolist()
        made = [
            {**rows[i % len(rows)], "id": f"{rows[i % len(rows)]['id']}-{i}", column: others[other][column]}
            for i, other in enumerate(drawn)
        ]
        return self.world.rows(made)


def _author(bench: Lasting, model: nn.Module, same: bool) -> float:
    asked = bench.asked[AUTHOR // 2 : AUTHOR] if same else bench.asked[AUTHOR:]
    return bench.came_back(model, bench.asked[: AUTHOR // 2], asked)


ATTACKS: Mapping[str, Callable[[Lasting, nn.Module], float]] = {
    "steps 80": lambda bench, model: bench.came_back(model, *bench.halves(0), steps=80),
    "slow": lambda bench, model: bench.came_back(model, *bench.halves(1), steps=60, lr=3e-4),
    "author": lambda bench, model: _author(bench, model, same=True),
    "other author": lambda bench, model: _author(bench, model, same=False),
    "retain": lambda bench, model: bench.came_back(model, bench.kept, bench.asked, steps=80),
}
"""Relearning: four times as long; other rows, slowly; ten rows of one author, and ten others of the same or all of the
other author asked; rows of the retain set only, all forget answers asked."""


def _beside(other: Callable[[Lasting, Loss], Loss], weight: float = 1.0) -> Callable[[Lasting, Loss], Loss]:
    """WGA with an end, and another loss."""
    return lambda bench, wga: Weighted(((1.0, wga), (weight, other(bench, wga))))


def _undo(share: float, base: bool) -> Callable[[Lasting], Start]:
    def start(bench: Lasting) -> Start:
        model, spent = bench.unlearned(Idea(budget=bench.budget))
        return (ideas.toward(model, bench.before(), share) if base else ideas.noised(model, share)), spent

    return start


def _fisher(bench: Lasting) -> Start:
    sample = bench.retain.subset(torch.arange(0, len(bench.retain), 4))
    model = ideas.without(bench.original, bench.before(), bench.forget, sample, 0.1)
    return model, float(len(bench.forget) + len(sample))


def _teacher(bench: Lasting) -> Loss:
    return ideas.distilled(bench.unlearned(Idea(budget=bench.budget))[0], alone=True)


def _hamu() -> Rule:
    """As `hamu_q+wga+end` of the other tables."""
    return HAMU("forget", ratio=0.3, need=True)


IDEAS: dict[str, Idea] = {
    "WGA with an end, 800": Idea(budget=800.0),
    "WGA with an end": Idea(),
    "WGA with an end, 4000": Idea(budget=4000.0),
    "WGA with an end, lr 2e-3": Idea(lr=2e-3),
    "Relearned": Idea(lambda bench, wga: Relearned(wga, TASK)),
    "Relearned, weight 2": Idea(lambda bench, wga: Relearned(wga, TASK), weight=2.0),
    "Relearned, weight 2, ends here too": Idea(
        lambda bench, wga: Until(Relearned(wga, TASK), TASK, bench.level), weight=2.0
    ),
    "Relearned, 2 steps": Idea(lambda bench, wga: Relearned(wga, TASK, steps=2)),
    "HAMU-Q": Idea(rule=_hamu),
    "HAMU-Q, Relearned, 2 steps": Idea(lambda bench, wga: Relearned(wga, TASK, steps=2), rule=_hamu),
    "Relearned, 4000": Idea(lambda bench, wga: Relearned(wga, TASK), budget=4000.0),
    "Relearned, weight 2, 4000": Idea(lambda bench, wga: Relearned(wga, TASK), weight=2.0, budget=4000.0),
    "Relearned, 800": Idea(lambda bench, wga: Relearned(wga, TASK), budget=800.0),
    "TAR beside": Idea(_beside(lambda bench, wga: ideas.Tar(wga, bench.forget))),
    "TAR beside, weight 3": Idea(_beside(lambda bench, wga: ideas.Tar(wga, bench.forget), 3.0)),
    "SAM beside": Idea(_beside(lambda bench, wga: ideas.Sharp(wga, steps=3, radius=0.05))),
    "noise beside": Idea(_beside(lambda bench, wga: ideas.Noisy(wga, 0.05))),
    "latent attack beside": Idea(_beside(lambda bench, wga: ideas.Latent(wga, block=0, share=1.0))),
    "misdirection beside": Idea(_beside(lambda bench, wga: Misdirection(TASK, layer=0, scale=10.0, seed=5), 0.1)),
    "other questions beside": Idea(_beside(lambda bench, wga: ideas.Drawn(wga, bench.other_questions(), 20))),
    "other answers beside": Idea(_beside(lambda bench, wga: ideas.Drawn(TASK.nll, bench.other_answers(), 10))),
    "UNDIAL beside": Idea(_beside(lambda bench, wga: Undial(TASK, frozen(bench.original)))),
    "halfway to the model before": Idea(
        start=lambda bench: (ideas.toward(bench.original, bench.before(), 0.5), 0.0),
        retain=lambda bench: ideas.distilled(bench.original), lr=3e-3,
    ),
    "UNDO, noise": Idea(start=_undo(0.2, base=False), retain=_teacher, lr=3e-3),
    "UNDO, model before": Idea(start=_undo(0.5, base=True), retain=lambda b: ideas.distilled(b.original), lr=3e-3),
    "Fisher reset to the model before": Idea(start=_fisher, retain=lambda bench: ideas.distilled(bench.original)),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of TOFU's jsonl files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ideas", nargs="+", choices=tuple(IDEAS), default=list(IDEAS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the means over the seeds that are there")
    chosen = parser.parse_args()
    if chosen.table:
        print(table(chosen.results, chosen.seeds))
        return
    torch.set_num_threads(1)
    for seed in chosen.seeds:
        run(chosen, seed)


def run(chosen: argparse.Namespace, seed: int) -> None:
    """What is not there yet of one seed."""
    bench = Lasting(World.of(chosen.source, "forget10", seed, Size()))
    for name in ("original", "retrained", *chosen.ideas):
        if (name, seed) in {(row["idea"], row["seed"]) for row in written(chosen.results)}:
            continue
        if name in IDEAS:
            model, spent = bench.unlearned(IDEAS[name])
        else:
            model, spent = (bench.original if name == "original" else bench.world.retrained()), 0.0
        scores = bench.scores(model) | {"gradients": spent}
        row = {"idea": name, "seed": seed, "scores": scores, "fingerprint": bench.world.fingerprint}
        with chosen.results.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
        print(seed, name, {key: scores[key] for key in COLUMNS}, flush=True)


def written(results: Path) -> list[dict[str, Any]]:
    """All runs that are there."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def table(results: Path, seeds: Sequence[int]) -> str:
    """Means over the seeds, as Markdown."""
    lines = ["|  | " + " | ".join(COLUMNS.values()) + " | seeds |", "|---|" + "---:|" * (len(COLUMNS) + 1)]
    for name in ("original", "retrained", *IDEAS):
        found = {r["seed"]: r["scores"] for r in written(results) if r["idea"] == name and r["seed"] in seeds}
        if found:
            means = [fmean(float(scores[key]) for scores in found.values()) for key in COLUMNS]
            shown = [
                f"{mean:.0f}" if key == "gradients" else f"{mean:.3f}" for key, mean in zip(COLUMNS, means, strict=True)
            ]
            lines.append(f"| {name} | " + " | ".join(shown) + f" | {' '.join(map(str, sorted(found)))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
