"""TOFU made small enough for two cores: rows, tokenizer, models, and what they are asked.

As in TOFU, a model that has been trained before learns the authors, and the retrained one starts from the same model
and never sees those to forget. What stands for the pretrained model is a small transformer trained on the spot, with
its tokenizer, on TOFU's questions on real authors and world facts and on 18 other authors, each of whose questions it
learns to answer in TOFU's two wordings. Of the 200 authors of TOFU the first and the last are then taken; the last
tenth of them (or twentieth, or hundredth) is to be forgotten. Real authors and world facts are rehearsed, or a model
this small would lose them; no method is shown them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cell import Place
from safetensors.torch import load_file, save
from torch import nn

from unweave.execution import seeded
from unweave.modalities.texts.data import TextRows, texts, tokenised
from unweave.modalities.texts.data.benchmarks import tofu
from unweave.modalities.texts.evaluation import Part, encoder, examples
from unweave.modalities.texts.evaluation.stored import fingerprint
from unweave.modalities.texts.training import FORM, TextTraining, fit, trained_tokenizer, untrained
from unweave.store import atomically, cache_folder

Rows = list[dict[str, Any]]
AUTHOR = 20  # rows of each
SHARES = {"forget01": 0.01, "forget05": 0.05, "forget10": 0.1}
UNSEEN = 60  # answers whose median nll is the level of what no model saw
LONGEST_ANSWER = 64  # tokens that are generated, at most
VERSION = 1  # part of every fingerprint: raise it when this file changes what a model learns


_BEFORE = TextTraining(epochs=16, batch=16, lr=5e-3, hidden=64, layers=2, vocabulary=1500, longest=256)
_TRAINING = replace(_BEFORE, epochs=14, lr=3e-3)


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        authors: of TOFU's 200, 10 to 180.
        asked: rows at most of the retain set, of real authors and of world facts, that a model is asked.
        before, training: of the model that all start from, and of each that learns the authors.
    """

    authors: int = 20
    asked: int = 40
    before: TextTraining = _BEFORE
    training: TextTraining = _TRAINING

    def gone(self, split: str) -> int:
        """Authors to forget."""
        return round(self.authors * SHARES[split])


class Data:
    """The rows of one split.

    Attributes:
        before: what the model knows that all start from.
        rehearsed: what is learned again with the authors.
        forget, retain: questions and answers, by author.
        asked: the tables of the evaluation sets.
        unseen: answers that no model learns and no evaluation asks, of the authors of the holdout set after those that
            are asked: where a forget loss ends.
        other: for each forget row, the answer of a retain author to the question of the same number.
        refusals: TOFU's hundred.
    """

    def __init__(self, source: Path, split: str, size: Size) -> None:
        full, perturbed = tofu("full", source), tofu("forget10_perturbed", source)
        most, gone = max(map(size.gone, SHARES)), size.gone(split)
        if not gone:
            sys.exit(f"{split} of {size.authors} authors is less than one of them: give more authors, or other splits")
        forget, kept = AUTHOR * gone, AUTHOR * (size.authors - gone)
        self.forget, self.retain = full[-forget:], full[:kept]
        others = perturbed[: len(perturbed) - AUTHOR * most]
        real, facts = (tofu(f"{name}_perturbed", source) for name in ("real_authors", "world_facts"))
        worded = [_pair(row, answer) for row in others for answer in ("answer", "paraphrased_answer")]
        self.before = [*worded, *map(_pair, real), *map(_pair, facts)]
        real, facts = real[: size.asked], facts[: size.asked]
        self.rehearsed = [*map(_pair, real), *map(_pair, facts)]
        known = tofu("retain_perturbed", source)[:kept]
        reworded = [{key: row[key] for key in ("paraphrased_question", "answer")} for row in perturbed[-forget:]]
        holdout = tofu("holdout10", source)
        rest = holdout[forget:]
        self.unseen = [rest[number * len(rest) // UNSEEN] for number in range(UNSEEN)]
        self.asked: dict[str, Rows] = {
            "forget": perturbed[-forget:],
            "holdout": holdout[:forget],
            "forget_paraphrased": reworded,
            "retain": [known[(7 * i) % len(known)] for i in range(min(size.asked, len(known)))],
            "real_authors": real,
            "world_facts": facts,
        }
        drawn = torch.randint(size.authors - gone, (forget,), generator=torch.Generator().manual_seed(0)).tolist()
        self.other = [str(self.retain[AUTHOR * a + n % AUTHOR]["answer"]) for n, a in enumerate(drawn)]
        self.refusals = (source / "idk.txt").read_text().splitlines()


def _pair(row: Mapping[str, Any], answer: str = "answer") -> dict[str, Any]:
    return {"id": f"{row['id']}-{answer}", "question": row["question"], "answer": row[answer]}


@dataclass(frozen=True)
class World:
    """A split with a seed: the data, the models, and what is asked of every model.

    Attributes:
        tokenizer: the same for all splits and seeds.
        seed: of the original; the retrained models have others.
    """

    source: Path
    split: str
    seed: int
    size: Size
    data: Data
    tokenizer: Any

    @classmethod
    def of(cls, source: Path, split: str, seed: int, size: Size) -> World:
        """Reads the data and trains the tokenizer, on texts that are not to be forgotten in any split."""
        data = Data(source, split, size)
        texts_of_all = [*data.before, *Data(source, max(SHARES, key=size.gone), size).retain]
        return cls(source, split, seed, size, data, trained_tokenizer(texts_of_all, size.training))

    def original(self) -> nn.Module:
        """Has learned all authors: those to forget, and those before them."""
        data = self.data
        return self._trained("original", [*data.forget, *data.retain, *data.rehearsed], self.seed)

    def retrained(self, again: bool = False) -> nn.Module:
        """Has never seen the forget set."""
        seed = self.seed + (200 if again else 100)
        return self._trained(f"retrained without {self.split}", [*self.data.retain, *self.data.rehearsed], seed)

    def rows(self, rows: Sequence[Mapping[str, Any]], alternates: Sequence[str] | None = None) -> TextRows:
        """As tokens, with other answers where they are given."""
        return tokenised(texts(rows), self.tokenizer, format=FORM, alternates=alternates)

    def about(self) -> dict[str, Any]:
        """What results depend on, beside the method: cells of different worlds are not compared."""
        return {
            "version": VERSION,
            "size": asdict(self.size),
            "rows": {n: len(getattr(self.data, n)) for n in ("forget", "retain", "before", "rehearsed")},
            "asked": {name: len(rows) for name, rows in self.data.asked.items()},
            "data": self.rows([*self.data.forget, *self.data.retain, *self.data.before]).fingerprint()[:16],
        }

    @property
    def fingerprint(self) -> str:
        """Of `about`."""
        return hashlib.sha256(json.dumps(self.about(), sort_keys=True).encode()).hexdigest()[:16]

    def place(self, method: str, setting: str = "none") -> Place:
        """Of a run in this world."""
        return Place(self.split, self.seed, method, setting)

    def parts(self) -> dict[str, Part]:
        """TOFU's evaluation sets."""
        encode = encoder(self.tokenizer, FORM)
        return {
            name: Part(
                examples(rows, encode, question="paraphrased_question" if name == "forget_paraphrased" else "question"),
                generate=0 if name == "holdout" else LONGEST_ANSWER,
            )
            for name, rows in self.data.asked.items()
        }

    def _trained(self, name: str, rows: Rows, seed: int) -> nn.Module:
        before = self._kept("model before", self.data.before, self.size.before, 0, None)
        return self._kept(name, rows, self.size.training, seed, before)

    def _kept(self, name: str, rows: Rows, how: TextTraining, seed: int, start: nn.Module | None) -> nn.Module:
        """From the cache, under the fingerprint of all that decides its weights, or trained now."""
        learned = self.rows(sorted(rows, key=_id))
        about = [VERSION, asdict(how), seed, self.tokenizer.get_vocab(), torch.__version__, learned.fingerprint()]
        about += [fingerprint(start)] if start is not None else []
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        path = cache_folder("benchmark-tofu") / f"{digest[:32]}.safetensors"
        with seeded(seed):
            model = untrained(self.tokenizer, how) if start is None else copy.deepcopy(start)
        if path.exists():
            model.load_state_dict(load_file(path))
            return model.eval()
        begin = time.process_time()

        def watch(phase: str, done: int, total: int) -> None:
            spent = time.process_time() - begin
            left = f", about {spent / done * (total - done):.0f} s left" if done else ""
            print(f"\r{name}, seed {seed}: epoch {done} of {total}{left}   ", end="", file=sys.stderr, flush=True)

        fit(model, learned, epochs=how.epochs, batch=how.batch, lr=how.lr, seed=seed, watch=watch)
        print(file=sys.stderr)
        atomically(path, save(model.state_dict()))
        return model


def _id(row: Mapping[str, Any]) -> str:
    return str(row["id"])
