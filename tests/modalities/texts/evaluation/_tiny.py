"""A transformer of 20,000 numbers, a tokenizer of characters, rows in TOFU's form, and slow twins of every metric."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor, nn

from unweave.modalities.texts.evaluation.examples import Example, Tokenised, examples

EOS, FIRST, VOCABULARY = 1, 2, 100
Row = dict[str, Any]


class Characters:
    """Ids of printable ASCII, from 2 on; 1 ends a text."""

    eos_token_id = EOS

    def encode(self, text: str) -> list[int]:
        return [FIRST + ord(c) - 32 for c in text]

    def decode(self, token_ids: Any, skip_special_tokens: bool = True) -> str:
        return "".join(chr(int(i) - FIRST + 32) for i in token_ids if int(i) >= FIRST)

    def pair(self, question: str, answer: str) -> tuple[list[int], int]:
        prompt = [EOS, *self.encode(f"Q: {question} A:")]
        return [*prompt, *self.encode(f" {answer}"), EOS], len(prompt)


def llama(seed: int = 0) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": None}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=256, initializer_range=0.3, **sizes, **special)
    )


def gpt2(seed: int = 0) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    special = {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": None}
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=256, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, **special
        )
    )


class Plain(nn.Module):
    """No cache, no `generate`, and logits as they are: a causal mean of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids) * attention_mask[..., None]
        return self.head(x.cumsum(1) / attention_mask.cumsum(1).clamp_min(1)[..., None])


def rows(n: int = 6, wrong: int = 3) -> list[Row]:
    random = torch.Generator().manual_seed(n)

    def word(size: int) -> str:
        return "".join(chr(97 + int(i)) for i in torch.randint(26, (size,), generator=random))

    return [
        {
            "question": f"Who is {word(3 + i % 4)}",
            "paraphrased_question": f"Tell me of {word(3)}",
            "answer": f"{word(2 + i)} of {word(4)}",
            "paraphrased_answer": word(5 + i % 3),
            "perturbed_answer": [word(4 + (i + j) % 5) for j in range(wrong)],
        }
        for i in range(n)
    ]


def some(n: int = 6, wrong: int = 3, **more: Any) -> list[Example]:
    return examples(rows(n, wrong), Characters().pair, **more)


@torch.no_grad()
def token_distributions(model: nn.Module, s: Tokenised) -> Tensor:
    """One forward of one sequence without padding: log-probabilities `[L, V]`."""
    ids = torch.tensor([s.ids])
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    logits = getattr(out, "logits", out)[0]
    return logits[s.start - 1 : -1].double().log_softmax(-1)


def slow_loss(model: nn.Module, s: Tokenised) -> float:
    logs = token_distributions(model, s)
    return -sum(float(logs[t, token]) for t, token in enumerate(s.ids[s.start :])) / len(logs)


def slow_exact(model: nn.Module, s: Tokenised) -> float:
    logs, said = token_distributions(model, s)[:-1], s.ids[s.start : -1]
    return sum(int(logs[t].argmax()) == token for t, token in enumerate(said)) / len(said)


def slow_extraction(model: nn.Module, s: Tokenised, floor: bool = False) -> float:
    """By trying every k, as the code of the field does."""
    likeliest = token_distributions(model, s)[:-1].argmax(-1).tolist()
    said = list(s.ids[s.start : -1])
    for k in range(len(said)):
        if likeliest[k:] == said[k:]:
            return 1 - k / len(said)
    return 1 / len(said) if floor else 0.0


def slow_min_k(model: nn.Module, s: Tokenised, plus: bool) -> float:
    logs, said = token_distributions(model, s)[:-1], s.ids[s.start : -1]
    values = []
    for t, token in enumerate(said):
        p = logs[t].exp()
        mu = float((p * logs[t]).sum())
        sigma = math.sqrt(max(1e-6, float((p * logs[t] ** 2).sum()) - mu**2))
        values.append((float(logs[t, token]) - mu) / sigma if plus else float(logs[t, token]))
    lowest = sorted(values)[: max(1, int(0.4 * len(values)))]
    return -sum(lowest) / len(lowest)


def slow_gradient(model: nn.Module, s: Tokenised) -> list[float]:
    """Norms of the gradients of all tensors, by `backward` on a copy."""
    import copy

    model = copy.deepcopy(model)
    ids = torch.tensor([s.ids])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, s.start - 1 : -2]
    nn.functional.cross_entropy(logits, ids[0, s.start : -1]).backward()
    return [float(p.grad.norm()) for p in model.parameters() if p.grad is not None]


def slow_zlib(model: nn.Module, e: Example) -> float:
    return slow_loss(model, e.answer) / len(zlib.compress(e.text.encode()))
