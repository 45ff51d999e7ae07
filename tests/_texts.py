"""Small causal language models and batches of made-up tokens: shared by the tests that need a language task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

VOCABULARY = 40


def llama(seed: int = 0, layers: int = 2, vocabulary: int = VOCABULARY, **settings: Any) -> Any:
    """A Llama of a few thousand weights, drawn anew; in eval mode."""
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(
        **{**shape, **settings}, num_hidden_layers=layers, vocab_size=vocabulary, max_position_embeddings=128
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(config)
        for parameter in model.parameters():  # far from uniform predictions
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    return model.eval()


def lora(model: nn.Module, rank: int = 4, started: bool = False) -> Any:
    """The model with LoRA on its attention; `started`: as if trained already, so that B is not 0."""
    peft = pytest.importorskip("peft")
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        config = peft.LoraConfig(r=rank, target_modules=["q_proj", "v_proj"], lora_dropout=0.2, task_type="CAUSAL_LM")
        adapted = peft.get_peft_model(model, config)
        if started:
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    nn.init.normal_(parameter, std=0.2)
    return adapted


def batch(
    prompts: tuple[int, ...] = (3, 2, 5), answers: tuple[int, ...] = (4, 1, 2), seed: int = 0
) -> dict[str, Tensor]:
    """Random tokens: one example per prompt length and answer length, right-padded."""
    generator = torch.Generator().manual_seed(seed)
    width = max(p + a for p, a in zip(prompts, answers, strict=True))
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, (p, a) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : p + a] = torch.randint(1, VOCABULARY, (p + a,), generator=generator)
        labels[row, p : p + a] = ids[row, p : p + a]
        mask[row, : p + a] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "index": torch.arange(len(prompts))}


CHAT_TEMPLATE = (
    "{{ bos_token }}{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "Today: {{ date_string }} {{ strftime_now('%Y') }}\n"
    "{% for m in messages %}<{{ m['role'] }}>\n{{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)


def tokenizer(corpus: list[str], chat: bool = True) -> Any:
    """A byte-level tokenizer of 400 tokens trained on the corpus, with BOS and EOS and no pad token."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    own = tokenizers.Tokenizer(tokenizers.models.BPE())
    own.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    own.train_from_iterator(corpus, trainer)
    own.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<s>", eos_token="</s>", model_max_length=128
    )
    if chat:
        made.chat_template = CHAT_TEMPLATE
    return made
