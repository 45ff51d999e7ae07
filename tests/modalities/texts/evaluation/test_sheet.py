"""The standard sheet: paraphrased questions and relearning belong to it, and it leaves the model as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.modalities.texts.evaluation import _tiny as tiny
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities.texts.data import Plain
from unweave.modalities.texts.evaluation import (
    Part,
    Relearning,
    choice_encoder,
    choices,
    compared,
    encoder,
    examples,
    muse_parts,
    read_log,
    sheet,
    tofu_parts,
    wmdp_parts,
)
from unweave.modalities.texts.evaluation.examples import prefixed
from unweave.modalities.texts.evaluation.sheet import relearned

TOKENIZER = tiny.Characters()
HOW = Relearning(rows=3, steps=6, lr=1e-3, batch=2)


def parts(n: int = 6) -> dict[str, Part]:
    again = [{"paraphrased_question": r["paraphrased_question"], "answer": r["answer"]} for r in tiny.rows(n)]
    reworded = examples(again, TOKENIZER.pair, question="paraphrased_question")
    return {"forget": Part(tiny.some(n), generate=4), "forget_paraphrased": Part(reworded, generate=4)}


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_the_sheet_of_a_model(tmp_path: Path) -> None:
    model = tiny.llama().train()
    before, generator = state(model), torch.get_rng_state()
    found = sheet(model, TOKENIZER, parts(), relearning=HOW, folder=tmp_path, name="tiny")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()) and model.training
    assert torch.equal(torch.get_rng_state(), generator) and all(p.grad is None for p in model.parameters())
    scores = found.scores
    for name in ("probability", "rouge", "extraction_strength", "exact_memorisation"):
        assert scores[f"paraphrased_prompt_{name}"].n == 6 and scores[f"relearned_{name}"].n == 3
    assert scores["prefixed_rouge"].n == scores["prefixed_probability"].n == 6
    assert scores["any_prompt_rouge"].n == 6 and scores["relearned_gain"].value is not None
    assert scores["forget_quality"].value is None and found.log.notes == ()
    log = read_log(tmp_path)
    assert log.values == found.log.values and [p.name for p in tmp_path.iterdir()] == ["values.jsonl"]
    retrained = sheet(tiny.llama(1), TOKENIZER, parts(), relearning=HOW).log
    again = sheet(model, TOKENIZER, parts(), relearning=HOW, folder=tmp_path, retrained=retrained)
    assert again.log.values == log.values and 0 < again.scores["forget_quality"].value <= 1  # type: ignore[operator]
    assert compared(log, retrained)["metrics"]["relearned_gain"]["difference"] is not None


def test_what_is_left_out_is_said() -> None:
    found = sheet(tiny.llama(), TOKENIZER, {"forget": parts()["forget"]}, relearning=None)
    assert len(found.log.notes) == 2 and "relearning" in found.log.notes[0] and "other words" in found.log.notes[1]
    found = sheet(tiny.llama(), TOKENIZER, {"forget": parts()["forget"]}, relearning=None, prefix=0)
    assert len(found.log.notes) == 3 and "prefix" in found.log.notes[2]
    assert "prefixed_rouge" not in found.scores


def test_an_answer_that_is_begun() -> None:
    """Its first tokens belong to the prompt, the rest is what is scored; what is short is left out."""
    rows = [{"question": "Who", "answer": "a tall man"}, {"question": "Where", "answer": "here"}]
    found = prefixed(examples(rows, TOKENIZER.pair), lambda ids: TOKENIZER.decode(ids, skip_special_tokens=True), 5)
    assert [(e.index, e.text) for e in found] == [(0, "ll man")], "five of its tokens, the first a space"
    whole = examples(rows, TOKENIZER.pair)[0].answer
    assert found[0].answer.prompt == whole.ids[: whole.start + 5] and found[0].answer.ids == whole.ids


def test_a_model_that_keeps_silent_goes_on_once_it_is_helped() -> None:
    """It has learnt to answer with another first letter: asked, it says nothing of the fact; begun, all of it."""
    model, row = tiny.llama(), {"question": "Who", "answer": "the same man"}
    silent = examples([{**row, "answer": "zzz"}], TOKENIZER.pair)
    helped = prefixed(examples([row], TOKENIZER.pair), lambda ids: TOKENIZER.decode(ids, skip_special_tokens=True), 4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        for example in (*silent, *helped):
            ids, start = torch.tensor([example.answer.ids]), example.answer.start
            logits = model(input_ids=ids).logits[0, start - 1 : -1]
            torch.nn.functional.cross_entropy(logits, ids[0, start:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    found = sheet(
        model, TOKENIZER, {"forget": Part(examples([row], TOKENIZER.pair), generate=12)}, relearning=None, prefix=4
    )
    assert found.scores["forget_rouge"].value == 0 and found.scores["prefixed_rouge"].value == 1


def test_relearning_brings_back_what_was_only_hidden() -> None:
    """Rows that share their answer: a model that lost it gets it back from half of them; its weights come back too."""
    rows = [{"question": f"Who is {i}", "answer": "the same man"} for i in range(6)]
    model, part = tiny.llama(), {"forget": Part(examples(rows, TOKENIZER.pair))}
    how = Relearning(rows=3, steps=40, lr=1e-2, batch=3)
    found = sheet(model, TOKENIZER, part, relearning=how)
    assert found.scores["relearned_gain"].value > 0.5  # type: ignore[operator]
    assert found.scores["relearned_exact_memorisation"].value > 0.9  # type: ignore[operator]


def test_relearning_by_hand() -> None:
    """One step of AdamW from zero moments moves every weight by the learning rate, against its gradient."""
    model, es = tiny.llama(), tiny.some(4)
    learned, others = Relearning(rows=20).split(es)
    assert len(learned) == len(others) == 2 and {e.index for e in (*learned, *others)} == {0, 1, 2, 3}
    assert Relearning(rows=20).split(es) == (learned, others) != Relearning(rows=20, seed=1).split(es)
    before = state(model)
    with relearned(model, learned, Relearning(steps=1, lr=1e-3)):
        moved = (state(model)["lm_head.weight"] - before["lm_head.weight"]).abs()
        assert moved.max() == pytest.approx(1e-3, rel=0.01)
    assert torch.equal(model.lm_head.weight, before["lm_head.weight"])
    with pytest.raises(RuntimeError), relearned(model, learned, Relearning(steps=1, lr=1e-3)):
        raise RuntimeError
    assert torch.equal(model.lm_head.weight, before["lm_head.weight"])
    half = tiny.llama().bfloat16()
    with relearned(half, learned, Relearning(steps=30, lr=1e-4)):  # each step is below bf16's spacing of large weights
        moved = (state(half)["lm_head.weight"].float() - before["lm_head.weight"].bfloat16().float()) != 0
        assert moved.float().mean() > 0.6


def test_bad_relearning() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Relearning(rows=0, lr=0)
    assert len(caught.value.faults) == 2
    with pytest.raises(ConfigurationError, match="needs 2 forget examples"):
        sheet(tiny.llama(), TOKENIZER, {"forget": Part(tiny.some(1))})
    with pytest.raises(UnsupportedError, match="frozen"):
        sheet(tiny.llama().requires_grad_(False), TOKENIZER, {"forget": Part(tiny.some(2))})


def words() -> Any:
    """A tokenizer of transformers, made on the spot: words of letters, digits and single signs."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    own = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "A": 2, "B": 3, "C": 4, "D": 5, ":": 6}, "<unk>"))
    own.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=own, eos_token="</s>", unk_token="<unk>")


def test_tofu_and_wmdp_with_a_tokenizer_of_transformers(tofu: Callable[[str], Path]) -> None:
    source, tokenizer = tofu("forget01_perturbed.jsonl").parent, words()
    tofu("holdout01.jsonl")
    found = tofu_parts(tokenizer, "01", source, form=Plain(), generate=9, at_most=3)
    wrong = {name: len(part.examples[0].perturbed) for name, part in found.items()}
    assert wrong == {
        "forget": 5, "holdout": 0, "forget_paraphrased": 0, "retain": 5, "real_authors": 3, "world_facts": 3,
    }  # fmt: skip
    assert [len(part.examples) for part in found.values()] == [3] * 6
    one, other = (found[name].examples[0] for name in ("forget", "forget_paraphrased"))
    assert one.text == other.text and one.answer.ids[-1] == 1 and len(one.paraphrased) == 1
    assert one.answer.prompt != other.answer.prompt
    row = {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 2}
    (choice,) = choices([row], choice_encoder(tokenizer), topic="biology")
    assert [s.ids[s.start :] for s in (choice.answer, *choice.perturbed)] == [(4,), (2,), (3,), (5,)]
    assert encoder(tokenizer)("", "A B : C")[1] == 0  # a running text


def test_muse_and_wmdp_from_a_folder(tmp_path: Path) -> None:
    tables = {
        "knowmem/forget_qa": [{"question": "A B", "answer": "C"}] * 3,
        "knowmem/forget_qa_icl": [{"question": "B", "answer": "D"}],
        "knowmem/retain_qa": [{"question": "A", "answer": "C"}],
        "knowmem/retain_qa_icl": [{"question": "B", "answer": "D"}] * 2,
        "verbmem/forget": [{"prompt": "A B C", "gt": "D A " * 100}],
        "privleak/forget": [{"text": "A B C D " * 20}],
        "privleak/holdout": [{"text": "A B C"}],
        "wmdp-bio": [{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 3}],
    }
    for name, rows in tables.items():
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = words()
    found = muse_parts(tokenizer, "News", tmp_path, max_length=30, at_most=2)
    assert {name: len(part.examples) for name, part in found.items()} == {
        "forget": 1, "holdout": 1, "forget_verbmem": 1, "forget_knowmem": 2, "retain_knowmem": 1,
    }  # fmt: skip
    assert len(found["forget"].examples[0].answer.ids) == 30 and found["forget"].examples[0].answer.start == 1
    verbatim = found["forget_verbmem"].examples[0]
    assert len(verbatim.answer.ids) - verbatim.answer.start == 128 and len(verbatim.text.split()) == 128
    asked = found["forget_knowmem"]
    a, b, c, d, colon, other = (*range(2, 7), 0)
    shot, question = [other, colon, b, other, colon, d], [other, colon, a, b, other, colon, c]
    assert list(asked.examples[0].answer.ids) == [*shot, *question] and asked.examples[0].answer.start == 12
    assert (asked.forced, asked.generate, asked.stemmer) == (False, 32, False) and "question:" in asked.stops
    (choice,) = wmdp_parts(tokenizer, "bio", tmp_path)["choices"].examples
    assert choice.text == " D" and len(choice.perturbed) == 3


@pytest.mark.parametrize("answer", [4, -1])
def test_a_choice_that_is_not_there(answer: int) -> None:
    row = {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": answer}
    with pytest.raises(ConfigurationError, match="a number from 0 to 3"):
        choices([row], TOKENIZER.pair)
