"""One forward pass gives what one pass per metric gives; prompts run once; generation is the model's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.modalities.texts.evaluation import _tiny as tiny
from unweave.modalities.texts.evaluation.collect import Part, collect
from unweave.modalities.texts.evaluation.examples import Tokenised
from unweave.modalities.texts.evaluation.forward import (
    Row,
    cached,
    common,
    forced,
    greedy,
    packed_length,
    packs,
    padded,
    predictions,
)
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.stored import stored

Make = Callable[[], nn.Module]
MODELS = [tiny.llama, tiny.gpt2, tiny.Plain]


def log_of(model: nn.Module, **how: Any) -> Log:
    return stored(collect(model, tiny.Characters(), {"forget": Part(tiny.some())}, **how), "tiny")


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("how", [{}, {"share": False}, {"batch_tokens": 1}], ids=["shared", "apart", "one by one"])
def test_every_teacher_forced_metric_against_its_slow_twin(make: Make, how: dict[str, Any]) -> None:
    model = make().eval()
    values, compared = log_of(model, **how).values["forget"], 0
    for e in tiny.some():
        twins = {
            "loss": tiny.slow_loss(model, e.answer),
            "exact": tiny.slow_exact(model, e.answer),
            "extraction": tiny.slow_extraction(model, e.answer),
            "mia_min_k": tiny.slow_min_k(model, e.answer, plus=False),
            "mia_min_k_plus_plus": tiny.slow_min_k(model, e.answer, plus=True),
            "mia_zlib": tiny.slow_zlib(model, e),
            "paraphrased_loss": [tiny.slow_loss(model, s) for s in e.paraphrased],
            "perturbed_loss": [tiny.slow_loss(model, s) for s in e.perturbed],
        }
        for name, value in twins.items():
            assert values[name][e.index] == pytest.approx(value, rel=2e-5, abs=1e-6), name
            compared += 1
    assert compared == 6 * 8


def test_what_is_remembered_is_seen() -> None:
    """A model that was trained on the answers: extraction strength 1, and a miss at the end gives 0, or their 1/L."""
    model, e = tiny.llama(), tiny.some(1)[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    ids = torch.tensor([e.answer.ids])
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:]).backward()
        optimizer.step()
    model.eval()
    other = Tokenised((*e.answer.ids[:-2], tiny.FIRST, tiny.EOS), e.answer.start)  # the last letter is another
    part = Part([e, type(e)(7, other, e.text)])
    lines = collect(model, tiny.Characters(), {"forget": part})
    ours, theirs = (stored(lines, "", compat).values["forget"] for compat in (None, "open-unlearning"))
    size = len(other.ids) - other.start - 1
    assert ours["extraction"] == {0: 1.0, 7: 0.0}
    assert theirs["extraction"] == {0: 1.0, 7: pytest.approx(1 / size)}
    assert theirs["extraction"][7] == pytest.approx(tiny.slow_extraction(model, other, floor=True))
    assert ours["exact"][7] == pytest.approx(1 - 1 / size)


def test_a_prompt_and_all_its_answers_are_one_sequence() -> None:
    model, seen = tiny.llama().eval(), []
    model.register_forward_pre_hook(lambda m, a, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True)
    es = tiny.some(1)
    answers = (es[0].answer, *es[0].others)
    prefix = common(answers)
    assert prefix == es[0].answer.start - 1  # the prompt without its last token
    width = prefix + sum(len(s.ids) - prefix for s in answers)
    collect(model, tiny.Characters(), {"forget": Part(es)})
    assert [tuple(shape) for shape in seen[2:]] == [(1, width)] and width == packed_length(answers)  # 2: `packs`
    seen.clear()
    collect(model, tiny.Characters(), {"forget": Part(es)}, share=False)
    assert [tuple(shape) for shape in seen] == [(5, max(len(s.ids) for s in answers))]


def test_what_is_longer_than_the_context_together_goes_apart() -> None:
    model, seen = tiny.llama().eval(), []
    es = tiny.some(1)
    answers = (es[0].answer, *es[0].others)
    model.config.max_position_embeddings = packed_length(answers) - 1
    model.register_forward_pre_hook(lambda m, a, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True)
    collect(model, tiny.Characters(), {"forget": Part(es)})
    assert [tuple(shape) for shape in seen[2:]] == [(5, max(len(s.ids) for s in answers))]


def test_prompts_that_differ_share_what_they_have_in_common() -> None:
    model = tiny.llama().eval()
    sequences = [Tokenised((5, 6, 7, 8, 9), 3), Tokenised((5, 6, 9, 8, 9, 7), 3), Tokenised((5, 6, 7, 7), 3)]
    assert common(sequences) == 2 and common([Tokenised((5, 6), 1), Tokenised((5, 7), 1)]) == 0
    together = forced(model, [Row(0, s, True) for s in sequences])
    apart = forced(model, [Row(i, s, True) for i, s in enumerate(sequences)])
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a.logprobs, b.logprobs)
        torch.testing.assert_close(a.variances, b.variances)


def test_which_models_pack_and_which_can_be_gone_on_from() -> None:
    from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    heads = {"num_key_value_heads": 2, "vocab_size": 40}
    windowed = MistralForCausalLM(MistralConfig(sliding_window=4, **sizes, **heads)).eval()
    for can in (cached, packs):
        assert can(tiny.llama().eval()) and can(tiny.gpt2().eval()) and can(tiny.llama().double().eval())
        assert can(Qwen2ForCausalLM(Qwen2Config(**sizes, **heads)).eval())
        assert not can(windowed) and not can(tiny.Plain())


class Deaf(nn.Module):
    """Takes a mask and positions, and ignores one of them, as a kernel or a wrapper may."""

    def __init__(self, mask: bool, places: bool) -> None:
        super().__init__()
        self.own, self.mask, self.places = tiny.llama(), mask, places
        self.config = self.own.config

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any = None) -> Any:
        if attention_mask.dim() == 4 and not self.mask:
            attention_mask = torch.ones_like(input_ids)
        return self.own(input_ids, attention_mask, position_ids if self.places else None)


@pytest.mark.parametrize(("mask", "places", "can"), [(True, True, True), (False, True, False), (True, False, False)])
def test_a_model_that_does_not_do_as_it_is_told_does_not_pack(mask: bool, places: bool, can: bool) -> None:
    model = Deaf(mask, places).eval()
    assert packs(model) is can
    expected = log_of(model, share=False).values["forget"]
    for name, of in log_of(model).values["forget"].items():
        assert list(of) == list(expected[name])
        for index, value in of.items():
            assert value == pytest.approx(expected[name][index], rel=2e-5, abs=1e-6), name


@pytest.mark.parametrize("make", MODELS[:2])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_tree_has_the_logits_of_its_sequences(make: Make, attention: str, dtype: torch.dtype) -> None:
    """Random trees of all shapes, ragged, with hidden tokens in prompt and answers, against one sequence at a time."""
    model = make().to(dtype).eval()
    model.set_attn_implementation(attention)  # type: ignore[operator]
    random, compared = torch.Generator().manual_seed(1), 0

    def some(low: int, high: int) -> list[int]:
        size = int(torch.randint(low, high, (1,), generator=random))
        return torch.randint(1, 6, (size,), generator=random).tolist()

    for hidden in ((), (tiny.EOS,)):
        trees = []
        for _ in range(12):
            prompt = some(2, 9)
            trees.append([Tokenised((*prompt, *some(1, 7)), len(prompt)) for _ in range(1 + len(some(0, 4)))])
        with torch.no_grad():
            logits, targets = predictions(model, trees, hidden)
            begin = 0
            for s in (s for tree in trees for s in tree):
                ids, mask = padded([s.ids], "cpu", hidden)
                own = model(input_ids=ids, attention_mask=mask).logits[0, s.start - 1 : -1]
                end = begin + len(own)
                near = 1e-10 if (dtype, attention) == (torch.float64, "sdpa") else 1e-4
                torch.testing.assert_close(logits[begin:end], own, rtol=near, atol=near)
                assert targets[begin:end].tolist() == list(s.ids[s.start :])
                begin, compared = end, compared + 1
            assert begin == len(logits)
    assert compared > 40


def test_hidden_ends_are_not_attended_to() -> None:
    """What open-unlearning does to the ends inside a prompt; the first token of a text stays."""
    model, s = tiny.llama().eval(), Tokenised((tiny.EOS, 5, tiny.EOS, 6, 7, 8), 4)
    ids, mask = padded([s.ids], "cpu", {tiny.EOS})
    assert mask.tolist() == [[1, 1, 0, 1, 1, 1]]
    with torch.no_grad():
        logs = model(input_ids=ids, attention_mask=mask).logits[0, 3:-1].log_softmax(-1)
    expected = logs.gather(1, ids[0, 4:, None])[:, 0]
    torch.testing.assert_close(forced(model, [Row(0, s, False)], hidden={tiny.EOS})[0].logprobs.detach(), expected)
    both = forced(model, [Row(0, s, False), Row(0, Tokenised((*s.ids[:4], 9), 4), False)], hidden={tiny.EOS})
    torch.testing.assert_close(both[0].logprobs.detach(), expected)
    assert not torch.allclose(forced(model, [Row(0, s, False)])[0].logprobs.detach(), expected)


@pytest.mark.parametrize("make", MODELS[:2])
def test_greedy_is_the_models_own_generate(make: Make) -> None:
    from transformers import GenerationConfig

    model = make().eval()
    prompts = [list(e.answer.prompt) for e in tiny.some(8)]
    free = greedy(model, prompts, 12, {tiny.EOS})
    ends = {tiny.EOS, free[0][3], free[1][6]}  # so that rows end at different times
    found, stopped = greedy(model, prompts, 12, ends), 0
    config = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=sorted(ends), pad_token_id=0)
    for prompt, text in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0, len(prompt) :]
        cut = [i for i, token in enumerate(expected.tolist()) if token in ends]
        assert text == expected.tolist()[: cut[0] if cut else None]
        stopped += bool(cut)
    assert 0 < stopped < 8 or len({len(text) for text in found}) > 1


def test_a_model_without_a_cache_that_goes_on_uses_its_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = tiny.llama().eval(), [list(e.answer.prompt) for e in tiny.some(3)]
    expected = greedy(model, prompts, 6, {tiny.EOS})
    monkeypatch.setattr("unweave.modalities.texts.evaluation.forward.cached", lambda model: False)
    assert greedy(model, prompts, 6, {tiny.EOS}) == expected
