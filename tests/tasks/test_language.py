"""The language task against transformers' own losses, and against the definitions written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests._texts import VOCABULARY, batch, llama, lora
from unweave.data.batches import count, divided
from unweave.errors import ConfigurationError
from unweave.tasks import Language

BATCH = batch()


def rows(b: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Each example alone, without padding."""
    lengths = b["attention_mask"].sum(1).tolist()
    return [
        {k: (v[i : i + 1, :n] if v.ndim == 2 else v[i : i + 1]) for k, v in b.items()} for i, n in enumerate(lengths)
    ]


def plain(model: nn.Module, b: dict[str, Tensor]) -> Tensor:
    """transformers' own loss of each example alone: the mean over its answer."""
    return torch.stack([model(**{k: v for k, v in r.items() if k != "index"}).loss for r in rows(b)])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "lora"])
def test_the_mean_is_transformers_own_loss(kind: str) -> None:
    if kind == "gpt2":
        transformers = pytest.importorskip("transformers")
        config = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2)
        model: nn.Module = transformers.GPT2LMHeadModel(config).eval()
    else:
        model = lora(llama(), started=True).eval() if kind == "lora" else llama()
    found = Language().nll(model, BATCH)
    assert found.shape == (3,) and count(BATCH) == 3
    torch.testing.assert_close(found, plain(model, BATCH))
    torch.testing.assert_close(Language("sum").nll(model, BATCH), found * torch.tensor([4.0, 1.0, 2.0]))


def test_one_example_and_divided_batches_say_the_same() -> None:
    model, whole = llama(), Language().nll(llama(), BATCH)
    parts = torch.cat([Language().nll(model, part) for part in divided(BATCH, 3)])
    torch.testing.assert_close(parts, whole)
    assert len(divided(BATCH, 3)) == 3


def test_gradients_are_transformers_own() -> None:
    model, other = llama(), llama()
    Language().nll(model, BATCH).sum().backward()
    plain(other, BATCH).sum().backward()
    pairs = list(zip(model.parameters(), other.parameters(), strict=True))
    assert len(pairs) > 10
    for a, b in pairs:
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_logits_are_computed_where_an_answer_token_is_predicted_only() -> None:
    """Prompts of 3, 2, 5 and answers of 4, 1, 2 tokens: positions 1 to 5 predict one, of 6."""
    model, seen = llama(), []
    model.lm_head.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    Language().nll(model, BATCH)
    assert seen == [5]
    assert len(Language().predictions(model, BATCH).targets) == 7


def test_a_model_that_computes_all_logits_says_the_same() -> None:
    model = llama()

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.own(input_ids=input_ids, attention_mask=attention_mask).logits

    torch.testing.assert_close(Language().nll(Plain(), BATCH), Language().nll(model, BATCH))


def test_divergence_by_its_definition() -> None:
    model, reference = llama(0), llama(1)
    logp, logq = (
        m(BATCH["input_ids"], attention_mask=BATCH["attention_mask"]).logits.log_softmax(-1) for m in (reference, model)
    )
    each = (logp.exp() * (logp - logq)).sum(-1)[:, :-1]
    asked = (BATCH["labels"][:, 1:] != -100).float()
    expected = (each * asked).sum(1) / asked.sum(1)
    torch.testing.assert_close(Language().divergence(model, reference, BATCH), expected)
    torch.testing.assert_close(Language("sum").divergence(model, reference, BATCH), (each * asked).sum(1))
    torch.testing.assert_close(Language().divergence(model, model, BATCH), torch.zeros(3), atol=1e-6, rtol=0)


def test_token_log_probabilities() -> None:
    values, asked = Language().token_logprobs(llama(), BATCH)
    assert values.shape == asked.shape == (3, 6)
    assert asked.sum(1).tolist() == [4, 1, 2] and (values[~asked] == 0).all()
    torch.testing.assert_close(-values.sum(1), Language("sum").nll(llama(), BATCH))


@pytest.mark.parametrize("layer", [0, 1])
def test_states_are_a_blocks_output_and_nothing_above_is_run(layer: int) -> None:
    model, ran = llama(layers=3), []
    hidden = model(BATCH["input_ids"], attention_mask=BATCH["attention_mask"], output_hidden_states=True).hidden_states
    model.lm_head.register_forward_hook(lambda *_: ran.append("head"))
    model.model.layers[layer + 1].mlp.register_forward_hook(lambda *_: ran.append("above"))
    states, owners = Language().states(model, BATCH, layer)
    assert ran == []
    torch.testing.assert_close(states, hidden[layer + 1][BATCH["labels"] != -100])
    assert owners.sum(torch.ones(7)).tolist() == [4.0, 1.0, 2.0]
    model.train().activation_checkpointing_enable()
    torch.testing.assert_close(Language().states(model, BATCH, layer)[0], states)
    with pytest.raises(ConfigurationError, match="below the last of the model's 3 blocks; found 2"):
        Language().states(model, BATCH, 2)


@pytest.mark.parametrize("training", [False, True])
def test_gradient_checkpointing_recomputes_in_either_mode_and_gives_the_same_gradient(training: bool) -> None:
    """Every block's MLP runs once more in the backward pass."""
    whole, saving, passes = llama().train(training), llama().train(training), []
    saving.activation_checkpointing_enable()
    for model, ran in ((whole, []), (saving, passes)):
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, ran=ran: ran.append(1))
        Language().nll(model, BATCH).sum().backward()
    assert len(passes) == 2 and "forward" not in vars(saving.model.layers[0])
    for a, b in zip(whole.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_bf16_autocast_keeps_fp32_weights_and_log_probabilities() -> None:
    model = llama()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = Language().nll(model, BATCH)
    assert values.dtype == torch.float32
    values.sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())


def test_padding_does_not_matter() -> None:
    wide = copy.deepcopy(BATCH)
    for key, fill in (("input_ids", 7), ("attention_mask", 0), ("labels", -100)):
        wide[key] = torch.cat([wide[key], torch.full((3, 4), fill)], 1)
    torch.testing.assert_close(Language().nll(llama(), wide), Language().nll(llama(), BATCH))


def test_bad_input() -> None:
    model, empty = llama(), copy.deepcopy(BATCH)
    empty["labels"][1] = -100
    empty["index"] += 70
    with pytest.raises(ConfigurationError, match=r"none in 1 of 3 \(rows 71\)"):
        Language().nll(model, empty)
    with pytest.raises(ConfigurationError, match=r"found keys input_ids\. data\.text"):
        Language().nll(model, {"input_ids": BATCH["input_ids"]})
    with pytest.raises(ConfigurationError, match="found tuple"):
        Language().nll(model, (1, 2))
    with pytest.raises(ConfigurationError, match="'mean' or 'sum'; found 'median'"):
        Language("median")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"AutoModelForCausalLM"):
        Language().nll(model.model, BATCH)
