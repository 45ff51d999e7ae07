"""A model and its tokenizer, trained on the spot: it learns by heart, and the same seed gives the same model."""

from __future__ import annotations

import pytest
import torch

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data.people import people
from unweave.modalities.texts.training import FORM, TextTraining, as_tokens, trained_model, trained_tokenizer
from unweave.tasks import Language

pytest.importorskip("transformers")
ROWS = people(10, holdout=0, known=0, seed=1).retain[:4]
HOW = TextTraining(epochs=60, batch=4, lr=1e-2, hidden=32, layers=1, vocabulary=300)


def test_it_learns_answers_by_heart() -> None:
    tokenizer = trained_tokenizer(ROWS, HOW)
    rows, state = as_tokens(ROWS, tokenizer), torch.get_rng_state()
    told: list[tuple[str, int, int]] = []
    model = trained_model(rows, tokenizer, HOW, 0, lambda *phase: told.append(phase))
    assert told[0] == ("training", 0, 60) and told[-1] == ("training", 60, 60) and len(told) == 61
    assert torch.equal(state, torch.get_rng_state()) and not model.training
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        seen = Language().predictions(model, rows.batch(range(len(rows))))
    assert len(seen.targets) == int(rows.amounts.sum()) and torch.equal(seen.logits.argmax(-1), seen.targets)


def test_the_same_seed_gives_the_same_model() -> None:
    how = TextTraining(epochs=1, batch=4, hidden=16, layers=1, vocabulary=300)
    tokenizer = trained_tokenizer(ROWS, how)
    assert tokenizer.get_vocab() == trained_tokenizer(ROWS, how).get_vocab()
    rows = as_tokens(ROWS, tokenizer)
    one, same, other = (trained_model(rows, tokenizer, how, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_answers_begin_after_the_line_and_end() -> None:
    tokenizer = trained_tokenizer(ROWS, HOW)
    rows = as_tokens(ROWS, tokenizer)
    batch = rows.batch([0])
    answer = batch["input_ids"][batch["labels"] != -100].tolist()
    assert tokenizer.decode(answer) == ROWS[0]["answer"] + tokenizer.eos_token
    assert FORM.prompt(tokenizer, rows.texts[0]) == ROWS[0]["question"] + "\n"


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TextTraining(epochs=0, lr=-1.0, hidden=12)
    assert len(caught.value.faults) == 3
