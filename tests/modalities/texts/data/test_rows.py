"""Batches of texts: padding, masks, weights, overlaps."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from tests._texts import tokenizer
from unweave.data.batches import count, divided, moved
from unweave.data.checks import check_overlap
from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import Text, TextRows, tokenised

TEXTS = [Text(f"t{i}", (("user", f"Question {i}?"),), "yes " * (i % 5 + 1) + str(i)) for i in range(12)]


@pytest.fixture(scope="module")
def own() -> Any:
    return tokenizer([t.turns[0][1] + t.answer for t in TEXTS])


@pytest.fixture(scope="module")
def rows(own: Any) -> TextRows:
    return tokenised(TEXTS, own)


def test_a_batch(own: Any, rows: TextRows) -> None:
    batch = rows.batch([3, 0, 4])
    assert count(batch) == 3 and len(rows) == 12 and rows.ids[3] == "t3"
    assert batch["index"].tolist() == [3, 0, 4]
    for i, row in enumerate((3, 0, 4)):
        ids, labels, mask = (batch[k][i] for k in ("input_ids", "labels", "attention_mask"))
        length = int(mask.sum())
        assert own.decode(ids[:length]).endswith(TEXTS[row].answer + "</s>"), "EOS is attended to"
        assert (mask[:length] == 1).all() and (labels[length:] == -100).all()
        asked = labels[labels != -100]
        assert own.decode(asked) == TEXTS[row].answer + "</s>" and len(asked) == rows.amounts[row]
    assert batch["input_ids"].shape[1] == int((batch["attention_mask"].sum(1)).max())


def test_every_way_to_draw_gives_the_same(rows: TextRows) -> None:
    expected = rows.batch([5, 2])
    loader = next(iter(DataLoader(Subset(rows, [5, 2]), batch_size=2)))
    for key, value in expected.items():
        assert loader[key].equal(value)
    sub = rows.subset([7, 5, 2]).batch([1, 2])
    assert all(sub[k].equal(v) for k, v in expected.items()), "and row numbers stay"
    assert rows[2]["input_ids"].equal(rows.batch([2])["input_ids"][0])
    assert rows.subset([1, 2]).fingerprint() != rows.fingerprint() == replace(rows).fingerprint()


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("world", [1, 2])
def test_weights_make_a_mean_over_the_tokens_of_the_step(rows: TextRows, micro: int, world: int) -> None:
    """Over all ranks and micro-batches: the mean of weight * x equals sum(T x) / sum(T)."""
    sides = (Subset(rows, range(6)), rows.subset(range(6, 12)))
    streams = [
        islice(Pairs(*sides, forget_batch=4, retain_batch=6, micro=micro, rank=r, world=world), 3) for r in range(world)
    ]
    checked = 0
    for ranks in zip(*streams, strict=True):
        for side in ("forget", "retain"):
            batches = [b for pair in ranks for b in getattr(pair, side)]
            index = torch.cat([b["index"] for b in batches])
            weight = torch.cat([b["weight"] for b in batches]).double()
            tokens, x = rows.amounts[index].double(), torch.rand(12, dtype=torch.float64)[index]
            assert (weight * x).mean().item() == pytest.approx(float((tokens * x).sum() / tokens.sum()), rel=1e-6)
            checked += 1
    assert checked == 6


def test_alternative_answers_ride_along(own: Any) -> None:
    refusals = ["I do not know.", "No idea."]
    found = tokenised(TEXTS, own, alternates=refusals, seed=3)
    batch = moved(found.batch([1, 2]), "cpu")
    assert {own.decode(r[r != -100]) for r in batch["alternate"]["labels"]} <= {f"{r}</s>" for r in refusals}
    part = divided(batch, 2)[1]
    alone = found.alternate.batch([2])["input_ids"]
    assert part["alternate"]["input_ids"][:, : alone.shape[1]].equal(alone)
    each = tokenised(TEXTS[:2], own, alternates=["one", "two"])
    assert [own.decode(r[r != -100]) for r in each.batch([0, 1])["alternate"]["labels"]] == ["one</s>", "two</s>"]
    loader = next(iter(DataLoader(found, batch_size=3)))
    assert loader["alternate"]["index"].tolist() == [0, 1, 2]
    assert found.fingerprint() != tokenised(TEXTS, own).fingerprint()


def test_compat_hides_the_end_of_sequence(own: Any) -> None:
    batch = tokenised(TEXTS, own, compat="open-unlearning").batch([0, 1])
    ends = batch["input_ids"] == own.eos_token_id
    assert (batch["attention_mask"][ends] == 0).all() and ends.sum() >= 4
    assert (batch["labels"][:, -1] != -100).any(), "labels keep it"


def test_long_texts(own: Any) -> None:
    long = [*TEXTS, Text("long", (), "word " * 200)]
    with pytest.raises(ConfigurationError, match=r"1 of 13 texts are longer than 128 tokens \(long\)"):
        tokenised(long, own)
    assert len(tokenised(long, own, too_long="drop")) == 12
    assert tokenised(long, own, too_long="cut").bounds.diff().max() == 128
    pieces = tokenised(long, own, too_long="split", max_length=100)
    assert pieces.ids[12:] == [f"long/{i}" for i in range(len(pieces) - 12)] and len(pieces) > 14
    whole = tokenised(long[12:], own, max_length=2000)
    kept = pieces.tokens[pieces.bounds[12] :]
    assert kept.equal(whole.tokens[: len(kept)]) and len(whole.tokens) - len(kept) < 2, "a lone token predicts nothing"
    with pytest.raises(ConfigurationError, match=r"nothing is left to predict in 12 of 12 texts \(t0, t1"):
        tokenised(TEXTS, own, max_length=6, too_long="cut")
    with pytest.raises(ConfigurationError, match="can only be cut"):
        tokenised(long, own, too_long="drop", alternates=["a"])


def test_forget_texts_inside_retain(own: Any, rows: TextRows) -> None:
    forget = rows.subset([0, 1])
    check_overlap(forget, rows.subset([2, 3]))
    with pytest.raises(ConfigurationError, match=r"found 1 of 2 .*forget\[1\] = retain\[0\]"):
        check_overlap(forget, Subset(rows, [1, 5]))
    other = [Text("x", (("user", "QUESTION  1"),), "Yes, yes: 1!")]
    with pytest.raises(ConfigurationError, match=r"forget\[1\] = retain\[0\]"):
        check_overlap(forget, tokenised(other, own))
    check_overlap(forget, tokenised([replace(TEXTS[0], id="again", copy=True), TEXTS[4]], own))
