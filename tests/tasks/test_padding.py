"""Where a batch is padded does not matter to any model, and a batch's own positions reach it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests._texts import VOCABULARY, llama
from unweave.errors import ConfigurationError
from unweave.losses import CEU
from unweave.losses.distillation import DivergenceEverywhere, Undial
from unweave.losses.representation import Misdirection
from unweave.tasks import Language

transformers = pytest.importorskip("transformers")
LENGTHS = (5, 9, 12)
SMALL: dict[str, Any] = {"vocab_size": 128, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}


class Positions(nn.Module):
    """Counts positions itself and knows no `position_ids`."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(VOCABULARY, 8), nn.Embedding(40, 8)
        self.head = nn.Linear(8, VOCABULARY)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        seen = self.token(input_ids) + self.place(torch.arange(input_ids.shape[1]))
        return self.head((seen * attention_mask[..., None]).cumsum(1))


def gpt2() -> Any:
    sizes = {"n_positions": 40, "n_embd": 16, "n_layer": 3, "n_head": 2, "initializer_range": 0.3}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**SMALL, **sizes))


def opt() -> Any:
    sizes = {"hidden_size": 16, "ffn_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "init_std": 0.3}
    return transformers.OPTForCausalLM(
        transformers.OPTConfig(**SMALL, **sizes, max_position_embeddings=40, word_embed_proj_dim=16)
    )


def bloom() -> Any:
    sizes = {"hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    return transformers.BloomForCausalLM(transformers.BloomConfig(**SMALL, **sizes))


def mamba() -> Any:
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "initializer_range": 0.3}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**SMALL, **sizes))


def roberta() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.RobertaConfig(**SMALL, **sizes, max_position_embeddings=40, is_decoder=True)
    return transformers.RobertaForCausalLM(config)


MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2, "opt": opt, "bloom": bloom, "mamba": mamba, "roberta": roberta, "llama": llama, "own": Positions
}  # fmt: skip
SIDES: dict[str, Callable[[int], int]] = {
    "right": lambda n: 0,
    "left": lambda n: 14 - n,
    "both": lambda n: (14 - n) // 2,
}


def made(kind: str) -> Any:
    torch.manual_seed(0)
    return MODELS[kind]().eval()


def padded(side: str, rows: list[Tensor]) -> dict[str, Tensor]:
    """The rows in a width of 14; the second half of each is the answer."""
    ids, mask, labels = (torch.full((len(rows), 14), fill) for fill in (0, 0, -100))
    for i, row in enumerate(rows):
        begin, n = SIDES[side](len(row)), len(row)
        ids[i, begin : begin + n], mask[i, begin : begin + n] = row, 1
        labels[i, begin + n // 2 : begin + n] = row[n // 2 :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "index": torch.arange(len(rows))}


def texts(seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, VOCABULARY, (n,), generator=generator) for n in LENGTHS]


@torch.no_grad()
def alone(model: nn.Module, rows: list[Tensor]) -> Tensor:
    """The mean loss of each row's second half, without any padding."""
    found = []
    for row in rows:
        out = model(input_ids=row[None], attention_mask=torch.ones_like(row[None]))
        logs = getattr(out, "logits", out)[0].log_softmax(-1)
        found.append(-torch.stack([logs[t - 1, row[t]] for t in range(len(row) // 2, len(row))]).mean())
    return torch.stack(found)


@pytest.mark.parametrize("kind", MODELS)
def test_every_row_has_the_loss_that_it_has_alone(kind: str) -> None:
    model, rows, checked = made(kind), texts(), 0
    for side in SIDES:
        torch.testing.assert_close(Language().nll(model, padded(side, rows)).detach(), alone(model, rows))
        checked += 1
    assert checked == 3


def test_so_have_states_compat_losses_and_those_that_skip_tokens() -> None:
    model, other = made("gpt2"), gpt2().eval().requires_grad_(False)
    task = Language()
    losses = {
        "ce-u": CEU(task),
        "undial": Undial(task, other),
        "undial of open-unlearning": Undial(task, other, compat="open-unlearning"),
        "divergence of open-unlearning": DivergenceEverywhere(task, other),
        "states": Misdirection(task, 1),
        "log-probabilities": lambda model, batch: task.token_logprobs(model, batch)[0].sum(1),
    }
    for name, loss in losses.items():
        right, left, both = (loss(model, padded(side, texts())) for side in ("right", "left", "both"))
        torch.testing.assert_close(left, right, msg=name)
        torch.testing.assert_close(both, right, msg=name)
    assert len(losses) == 6


def test_nothing_predicts_the_first_token_of_a_text_behind_padding() -> None:
    """Of a running text all tokens are labels; the first is asked of nobody, whichever side the padding is on."""
    model, rows = made("gpt2"), texts()
    right, left = padded("right", rows), padded("left", rows)
    for batch in (right, left):
        batch["labels"] = batch["input_ids"].where(batch["attention_mask"] == 1, -100)
    assert len(Language().predictions(model, left).targets) == sum(LENGTHS) - 3
    torch.testing.assert_close(Language().nll(model, left), Language().nll(model, right))
    left["labels"][0, :9], left["labels"][0, 10:] = -100, -100
    with pytest.raises(ConfigurationError, match=r"none in 1 of 3 \(rows 0\)"):
        Language().nll(model, left)


def test_positions_of_the_batch_reach_the_model() -> None:
    """Two texts in one row, each from position 0: what the second gets depends on them; they move with their row."""
    model, batch = made("gpt2"), padded("right", texts())
    shifted = {**batch, "position_ids": torch.arange(14).expand(3, 14) + 7}
    with torch.no_grad():
        logs = model(input_ids=batch["input_ids"], position_ids=shifted["position_ids"]).logits.log_softmax(-1)
    want = -torch.stack([logs[0, t - 1, batch["labels"][0, t]] for t in range(2, 5)]).mean()
    torch.testing.assert_close(Language().nll(model, shifted)[0].detach(), want)
    left = {**padded("left", texts()), "position_ids": torch.stack([(torch.arange(14) - (14 - n)) for n in LENGTHS])}
    left["position_ids"] = left["position_ids"].clamp(min=0)
    torch.testing.assert_close(Language().nll(model, left).detach(), alone(model, texts()))
    with pytest.raises(ConfigurationError, match="the forward of Positions takes none: leave them out"):
        Language().nll(made("own"), shifted)


def test_right_padded_batches_are_not_touched() -> None:
    batch, seen = padded("right", texts()), []
    model = made("own")
    model.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    Language().nll(model, batch)
    assert seen[0] is batch["input_ids"], "what answers the same call from memory knows it again"
    with pytest.raises(
        ConfigurationError, match=r"must have one shape, \[b, t\]; found input_ids \[3, 14\], attention"
    ):
        Language().nll(model, {**batch, "attention_mask": torch.ones(3, 1, 14, 14)})
