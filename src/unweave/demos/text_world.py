"""What the demo on texts runs on: the people, the models that know them, and what every model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from unweave.modalities.texts.data import TextRows
from unweave.modalities.texts.data.people import People, people
from unweave.modalities.texts.evaluation import Part, Relearning, Sheet, encoder, examples, log_scores, sheet
from unweave.modalities.texts.training import FORM, TextTraining, as_tokens, trained_model, trained_tokenizer
from unweave.watch import Watch

Json = dict[str, Any]
LONGEST_ANSWER = 16  # tokens that are generated, at most
RELEARNING = Relearning(rows=20, steps=20, lr=1e-3)


@dataclass(frozen=True)
class Size:
    """How much of everything: the demo's own numbers, or less.

    Args:
        people: to learn, a tenth of them to forget; a fifth as many are never learned.
        training: of the three models.
        steps: of every method, at most.
        forget_batch, retain_batch: rows in a step.
        shown: questions per side whose answers are shown.
    """

    people: int = 150
    training: TextTraining = field(default_factory=TextTraining)
    steps: int = 40
    forget_batch: int = 20
    retain_batch: int = 40
    shown: int = 3

    def of(self, *, steps: int | None, epochs: int | None) -> Size:
        """The same with other numbers, where they are given."""
        training = self.training if epochs is None else replace(self.training, epochs=epochs)
        return replace(self, steps=steps or self.steps, training=training)


DEMO = Size()


@dataclass(frozen=True, eq=False)
class World:
    """The people, the models, and what is asked of every model.

    Attributes:
        people: as tables.
        size: how much of everything.
        tokenizer: of all three models.
        original: knows all but the holdout.
        retrained, again: never saw the forget set, from two seeds.
        parts: the sets of the sheet.
        reference: the sheet of `retrained`.
    """

    people: People
    size: Size
    tokenizer: Any
    original: nn.Module
    retrained: nn.Module
    again: nn.Module
    parts: Mapping[str, Part]
    reference: Sheet

    @classmethod
    def trained(cls, seed: int, size: Size, watch: Watch) -> World:
        """Draws the people and trains tokenizer and models."""
        world = people(size.people, holdout=size.people // 5, known=size.people // 15, seed=seed)
        tokenizer = trained_tokenizer([*world.forget, *world.kept], size.training)

        def model(name: str, rows: Sequence[Json], seed: int) -> nn.Module:
            def told(phase: str, done: int, total: int) -> None:
                watch(f"training the {name} model", done, total)

            return trained_model(as_tokens(rows, tokenizer), tokenizer, size.training, seed, told)

        original = model("original", [*world.forget, *world.kept], seed)
        retrained, again = (model(f"{n} retrained", world.kept, seed + i) for i, n in ((1, "first"), (2, "second")))
        parts = _parts(world, tokenizer)
        reference = sheet(retrained, tokenizer, parts, relearning=RELEARNING, name="retrained")
        return cls(world, size, tokenizer, original, retrained, again, parts, reference)

    def rows(self, rows: Sequence[Json]) -> TextRows:
        """As tokens."""
        return as_tokens(rows, self.tokenizer)

    def unseen(self) -> TextRows:
        """The half of the holdout that ends a run; the sheet reads the other."""
        return self.rows(self.people.holdout[: len(self.people.holdout) // 2])

    def sheet(self, model: nn.Module, name: str) -> Sheet:
        """The scores of a model, beside the first retrained one's."""
        if model is self.retrained:
            return Sheet(log_scores(self.reference.log, self.reference.log), self.reference.log)
        return sheet(model, self.tokenizer, self.parts, retrained=self.reference.log, relearning=RELEARNING, name=name)

    def about(self) -> Json:
        """The world in numbers."""
        counts = {name: len(rows) for name, rows in vars(self.people).items()}
        weights = sum(p.numel() for p in self.original.parameters())
        return {"counts": counts, "weights": weights, "vocabulary": len(self.tokenizer)}

    def asked(self, side: str, answers: Mapping[str, Mapping[str, list[str]]]) -> list[Json]:
        """Some questions with the true answer and what every model says."""
        rows = getattr(self.people, side)[: len(self.people.forget)]  # as many as the sheet asks
        chosen = places(len(rows), self.size.shown)
        return [
            {
                "question": rows[place]["question"],
                "truth": rows[place]["answer"],
                "answers": {name: said[side][i] for name, said in answers.items()},
            }
            for i, place in enumerate(chosen)
        ]


def places(total: int, shown: int) -> list[int]:
    """So many questions of different people and of different kinds."""
    return [(5 * i) % total for i in range(min(shown, total))]


def _parts(world: People, tokenizer: Any) -> dict[str, Part]:
    """TOFU's sets; what is measured is asked of people whom the runs did not look at: the other half of the holdout."""
    encode = encoder(tokenizer, FORM)

    def part(rows: Sequence[Mapping[str, Any]], question: str = "question", generate: int = LONGEST_ANSWER) -> Part:
        return Part(examples(rows, encode, question=question), generate=generate)

    reworded = [{key: row[key] for key in ("paraphrased_question", "answer")} for row in world.forget]
    return {
        "forget": part(world.forget),
        "holdout": part(world.holdout[len(world.holdout) // 2 :], generate=0),
        "forget_paraphrased": part(reworded, "paraphrased_question"),
        "retain": part(world.retain[: len(world.forget)]),
        "real_authors": part(world.known),
        "world_facts": part(world.places),
    }
