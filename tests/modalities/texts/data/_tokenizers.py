"""Chat templates of the kinds that models come with, in few words, and tokenizers of every kind, made on the spot."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast

_SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "[CLS]", "[SEP]"]
_CORPUS = ["Question: Where does Ann live? Answer: The house in Oslo, since 1990."] * 20

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] + eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|head|>{{ m['role'] }}<|tail|>\n\n"
    "{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|tail|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "<turn>{{ role }}\n{{ m['content'] | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
QWEN = (  # the last answer is opened by a thought, an empty one where it brings none; earlier ones lose theirs
    "{% for m in messages %}{% set text = m['content'] %}{% if m['role'] == 'assistant' %}{% set thought = '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].rstrip('\n').split('<think>')[-1] %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>assistant\n"
    "{% if loop.last %}<think>\n{{ thought.strip('\n') }}\n</think>\n\n{{ text.lstrip('\n') }}"
    "{% else %}{{ text }}{% endif %}"
    "{{ eos_token }}\n{% else %}<|im_start|>{{ m['role'] }}\n{{ text }}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
R1 = (  # thoughts are cut off, and the prompt opens one
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}{% else %}"
    "{% set text = m['content'] %}{% if '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
    "<|Assistant|>{{ text }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
PHI = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
KINDS = {  # the template, and what it writes before the answer and between it and the end of the sequence
    "chatml": (CHATML, "<|im_start|>assistant\n", ""),
    "llama": (LLAMA, "<|head|>assistant<|tail|>\n\n", ""),
    "gemma": (GEMMA, "<turn>model\n", "<end>\n"),
    "mistral": (MISTRAL, " [/INST] ", ""),
    "qwen": (QWEN, "<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
    "r1": (R1, "<|Assistant|>", ""),
    "phi": (PHI, "<|assistant|>\n", "<|end|>\n"),
}


def byte_pairs() -> Any:
    own = Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    own.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(own, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, **_quiet()))


def word_pieces() -> Any:
    """Lower case, no white space, `[CLS] text [SEP]`; its end-of-sequence token is the latter."""
    letters = [chr(c) for c in range(33, 127)]
    pieces = [*_SPECIAL, *letters, *(f"##{c}" for c in letters), "where", "oslo", "##lo", "house", "since", "assist"]
    own = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, unk_token="<unk>"))
    own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    own.decoder = decoders.WordPiece(cleanup=False)
    own.add_special_tokens(_SPECIAL)
    made = _wrapped(own)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, made.convert_tokens_to_ids(t)) for t in ("[CLS]", "[SEP]")]
    )
    made.eos_token = "[SEP]"
    return made


def unigram() -> Any:
    """As sentencepiece makes them: white space belongs to the word behind it; `text </s>`."""
    own = Tokenizer(models.Unigram())
    own.pre_tokenizer, own.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    alphabet = [*map(chr, range(33, 127)), "\n"]
    trainer = trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", initial_alphabet=alphabet, **_quiet())
    made = _trained(own, trainer)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", made.convert_tokens_to_ids("</s>"))]
    )
    return made


def bytes_alone() -> Any:
    """Slow, without offsets; appends `</s>`."""
    return ByT5Tokenizer(model_max_length=4096)


class Greedy(PreTrainedTokenizer):
    """Slow: the longest known piece, again and again, so that a token may reach across any border; `<s> text </s>`."""

    def __init__(self, pieces: tuple[str, ...] = (), **more: Any) -> None:
        self._pieces = ["<unk>", *sorted({*map(chr, range(9, 127)), *pieces}, key=lambda p: (-len(p), p))]
        super().__init__(bos_token="<s>", eos_token="</s>", unk_token="<unk>", special_tokens_pattern="bos_eos", **more)

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def get_vocab(self) -> dict[str, int]:
        return {**{p: i for i, p in enumerate(self._pieces)}, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        found, place = list[str](), 0
        while place < len(text):
            piece = next((p for p in self._pieces[1:] if text.startswith(p, place)), text[place])
            found.append(piece)
            place += len(piece)
        return found

    def _convert_token_to_id(self, token: str) -> int:
        return self._pieces.index(token) if token in self._pieces else 0

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


def greedy() -> Any:
    return Greedy(("Oslo", " in", "\nThe", "\nO", ": N", "] O", ">N", "or"), model_max_length=4096)


MADE = {"bpe": byte_pairs, "wordpiece": word_pieces, "unigram": unigram, "bytes": bytes_alone, "greedy": greedy}


def _quiet() -> dict[str, Any]:
    return {"special_tokens": _SPECIAL, "show_progress": False}


def _trained(own: Any, trainer: Any) -> Any:
    own.train_from_iterator(_CORPUS, trainer)
    return _wrapped(own)


def _wrapped(own: Any) -> Any:
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=4096, **special)
