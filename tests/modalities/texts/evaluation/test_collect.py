"""Collecting: nothing is left behind in the model, an interrupted run goes on, and processes share the work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests._gloo import ranks
from tests.modalities.texts.evaluation import _tiny as tiny
from tests.modalities.texts.evaluation._ranks import shares, worker, written
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities.texts.evaluation import log_scores, read_log
from unweave.modalities.texts.evaluation.collect import Part, batches, check, collect
from unweave.modalities.texts.evaluation.examples import Example, Tokenised, choices, examples
from unweave.modalities.texts.evaluation.stored import Line, fingerprint, read_lines, stored

TOKENIZER = tiny.Characters()


def parts() -> dict[str, Part]:
    return {"forget": Part(tiny.some(7), generate=5), "holdout": Part(tiny.some(3, 0), gradient=True)}


def counted(model: nn.Module) -> list[int]:
    """Sequences of every forward pass."""
    seen: list[int] = []
    model.register_forward_pre_hook(lambda m, a, k: seen.append(len(k["input_ids"])), with_kwargs=True)
    return seen


def assert_close(found: list[Line], expected: list[Line]) -> None:
    """The same but for the rounding of another batch."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            assert one[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-5)), name


def test_one_forward_serves_all_metrics() -> None:
    """The same sequences under the six teacher-forced metrics of open-unlearning took nine passes."""
    model = tiny.llama()
    seen = counted(model)
    log = stored(collect(model, TOKENIZER, {"forget": Part(tiny.some(6, 0)), "holdout": Part(tiny.some(5, 0))}), "")
    # 6 answers and as many paraphrases, with 6 shared prompts, and the same for 5
    assert sum(seen) == 4 + 6 + 5
    assert {c for c in log.values["forget"] if c.startswith("mia")} == {
        "mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus",
    }  # fmt: skip


def test_a_run_finds_everything_as_it_was() -> None:
    model = tiny.llama().train()
    model.model.layers[0].eval()
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before = {n: p.clone() for n, p in model.state_dict().items()}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    collect(model, TOKENIZER, {"forget": Part(tiny.some(2), generate=3, gradient=True)})
    assert [m.training for m in model.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.lm_head.weight.grad, torch.ones_like(model.lm_head.weight))
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["lm_head.weight"]
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items()) and torch.is_grad_enabled()


def test_gradient_norms_against_backward_on_a_copy() -> None:
    model, es = tiny.llama(), tiny.some(3, 2)
    lines = collect(model, TOKENIZER, {"forget": Part(es, gradient=True)})
    ours, theirs = (stored(lines, "", compat).values["forget"]["mia_gradnorm"] for compat in (None, "open-unlearning"))
    for e in es:
        norms = tiny.slow_gradient(model, e.answer)
        assert ours[e.index] == pytest.approx(math.hypot(*norms), rel=1e-4)
        assert theirs[e.index] == pytest.approx(sum(norms) / len(norms), rel=1e-4)
    plain = collect(model, TOKENIZER, {"forget": Part(es)})
    assert_close([line for line in lines if line["family"] == "forced"], plain)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    model, folder = tiny.llama(), tmp_path / "values"
    expected = collect(model, TOKENIZER, parts(), folder=folder, batch_tokens=60)
    whole = (folder / "values.jsonl").read_text().splitlines(keepends=True)
    assert [p.name for p in folder.iterdir()] == ["values.jsonl"] and len(whole) == 1 + len(
        expected
    ) == 1 + 7 * 2 + 3 * 2
    assert read_lines(folder / "values.jsonl")[1] == expected
    seen = counted(model)
    assert collect(model, TOKENIZER, parts(), folder=folder) == expected and not seen  # nothing left to do
    (folder / "values.jsonl").unlink()
    torn = [*whole[:9], whole[9][:40]]
    (folder / "values.0.jsonl").write_text("".join(torn))
    assert_close(collect(model, TOKENIZER, parts(), folder=folder, batch_tokens=60), expected)
    assert seen and [p.name for p in folder.iterdir()] == ["values.jsonl"]


def test_a_crash_leaves_what_was_done(tmp_path: Path) -> None:
    model, calls = tiny.llama(), 0

    def crash(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("out of memory")

    handle = model.register_forward_pre_hook(crash)
    part = {"forget": Part(tiny.some(4, 0))}
    with pytest.raises(RuntimeError, match="out of memory"):
        collect(model, TOKENIZER, part, folder=tmp_path, batch_tokens=1)
    handle.remove()
    header, lines = read_lines(tmp_path / "values.0.jsonl")
    assert header is not None and len(lines) == 1  # two passes find out that the model packs
    seen = counted(model)
    assert len(collect(model, TOKENIZER, part, folder=tmp_path, batch_tokens=1)) == 4 and len(seen) == 2 + 3


def test_values_of_something_else_are_refused(tmp_path: Path) -> None:
    model, part = tiny.llama(), {"forget": Part(tiny.some(2))}
    collect(model, TOKENIZER, part, folder=tmp_path)
    with torch.no_grad():
        model.lm_head.weight[3, 4] += 1e-4
    cases = [
        (model, part, "another model"),
        (tiny.llama(), {"forget": Part(tiny.some(3))}, "another data"),
        (tiny.llama(), {"forget": Part(tiny.some(2), generate=4)}, "another settings"),
    ]
    for changed, asked, expected in cases:
        with pytest.raises(ConfigurationError, match=expected):
            collect(changed, TOKENIZER, asked, folder=tmp_path)
    assert fingerprint(tiny.llama()) == fingerprint(tiny.llama()) != fingerprint(tiny.llama(1))


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path) -> None:
    ranks(worker, 2, str(tmp_path))
    expected = collect(tiny.Plain(), TOKENIZER, shares())
    for rank in range(2):
        for lines in torch.load(tmp_path / f"rank{rank}.pt", weights_only=False):
            assert_close(lines, expected)
    assert [p.name for p in (tmp_path / "values").iterdir()] == ["values.jsonl"]
    assert_close(read_lines(tmp_path / "values" / "values.jsonl")[1], expected)
    assert read_log(tmp_path / "values").has("holdout", "loss", "mia_gradnorm")
    expected = collect(tiny.llama(), TOKENIZER, written())
    for rank in range(2):
        found = torch.load(tmp_path / f"whole{rank}.pt", weights_only=False)
        for kind in ("FSDP2", "again", "DDP"):
            assert_close(found[kind], expected)
        assert "relearning=None" in found["refused"]
    assert read_log(tmp_path / "sharded").has("forget", "loss", "rougeL_recall")


def test_a_diverged_model_is_called_that(tmp_path: Path) -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    collect(model, TOKENIZER, {"forget": Part(tiny.some(3, 2))}, folder=tmp_path)
    text = (tmp_path / "values.jsonl").read_text()
    assert "NaN" not in text and all(json.loads(line) for line in text.splitlines())
    scores = log_scores(read_log(tmp_path))
    assert len(scores) == 7 and all(score.value is None for score in scores.values())
    assert "diverged" in scores["forget_probability"].reason and "diverged" in scores["extraction_strength"].reason


def test_multiple_choice() -> None:
    """The share of questions whose letter is likelier than the others', against single passes."""
    rows = [{"question": f"Is {i}?", "choices": [f"a{i}", "b", "c", "d"], "answer": i % 4} for i in range(8)]

    def encode(prompt: str, answer: str) -> tuple[list[int], int]:
        one = TOKENIZER.encode(prompt[-30:].replace("\n", " "))
        return one + TOKENIZER.encode(answer), len(one)

    model, es = tiny.llama(), choices(rows, encode, topic="biology")
    assert es[1].text == " B" and [TOKENIZER.decode(s.ids[s.start :]) for s in es[1].perturbed] == [" A", " C", " D"]
    right = sum(tiny.slow_loss(model, e.answer) < min(tiny.slow_loss(model, s) for s in e.perturbed) for e in es)
    scores = log_scores(stored(collect(model, TOKENIZER, {"choices": Part(es)}), ""))
    assert scores["choice_accuracy"].value == right / 8 and scores["choice_accuracy"].n == 8


def test_batches_are_sorted_and_bounded() -> None:
    lengths, widths = [3, 9, 5, 9, 1, 30], [2, 1, 1, 2, 1, 1]
    found = list(batches(lengths, widths, 20))
    assert found == [[5], [1], [3], [2, 0, 4]]
    assert sorted(i for batch in found for i in batch) == list(range(6))


def test_bad_input() -> None:
    model, e = tiny.llama(), tiny.some(1)[0]
    long = Example(3, Tokenised((5,) * 300, 4), "x")
    with pytest.raises(ConfigurationError) as caught:
        collect(model, TOKENIZER, {"retain": Part([]), "forget": Part([e, long], generate=250)})
    assert len(caught.value.faults) == 3 and "row 3 needs 300 tokens, the model's context has 256" in str(caught.value)
    room = 256 - e.answer.start
    assert f"behind the prompts of 1 of 2 rows: the model's context has 256, the longest prompt {e.answer.start}" in (
        said := caught.value.faults[2]
    )
    assert f"Ask for {room} at most (Part(generate=...); in a recipe: evaluation.generate)" in said, "no shorter texts"
    check(model, {"forget": Part([e, Example(4, Tokenised((5,) * 256, 4), "x")], generate=room)})
    with pytest.raises(ConfigurationError, match="every index once"):
        collect(model, TOKENIZER, {"forget": Part([e, e])})
    with pytest.raises(ConfigurationError) as caught:
        rows = [{"question": "q", "answer": "a"}, {"answer": "a"}, {"question": "q", "answer": "a", "index": 0}]
        examples([*rows, {"question": "q", "answer": ""}], lambda q, a: ([1, 2] + [3] * len(a), 2))
    assert len(caught.value.faults) == 2 and "row 1: expected a column 'question'" in str(caught.value)
    assert "row 3: an answer needs a token of its own" in str(caught.value)
    wrong = [
        {"question": "q", "answer": None},
        {"question": [1], "answer": "a"},
        {"question": "q", "answer": "a", "perturbed_answer": ["b", None]},
        {"question": "q", "answer": "a", "paraphrased_answer": 3},
    ]
    with pytest.raises(ConfigurationError) as caught:
        examples(wrong, lambda q, a: ([1, 2] + [3] * len(a), 2))
    assert len(caught.value.faults) == 4 and "row 0: answer must be text, found None" in str(caught.value)
    nothing = {"question": "q", "answer": "a", "perturbed_answer": None, "paraphrased_answer": "b"}
    assert len(examples([nothing], lambda q, a: ([1, 2] + [3] * len(a), 2))[0].others) == 1
    with pytest.raises(UnsupportedError, match="all of this model's are frozen"):
        collect(model.requires_grad_(False), TOKENIZER, {"forget": Part([e], gradient=True)})
    with pytest.raises(UnsupportedError, match="cannot write texts"):
        collect(tiny.Plain(), TOKENIZER, {"forget": Part([e], generate=4)})
