"""The evaluation sets of the field's benchmarks, ready for `sheet`: TOFU, MUSE, WMDP."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from unweave.modalities.texts.data import Chat, Plain, Text
from unweave.modalities.texts.data.benchmarks import muse, tofu, wmdp
from unweave.modalities.texts.data.format import CHAT
from unweave.modalities.texts.evaluation.collect import Part
from unweave.modalities.texts.evaluation.examples import Example, Tokenised, choice_encoder, choices, encoder, examples
from unweave.modalities.texts.evaluation.numbers import muse_stops

_VERBATIM, _KNOWLEDGE = 128, 32  # tokens that MUSE generates


def tofu_parts(
    tokenizer: Any,
    size: str = "10",
    source: str | Path = "locuslab/TOFU",
    *,
    form: Chat | Plain = CHAT,
    generate: int = 200,
    gradient: bool = False,
    at_most: int | None = None,
    retained: Container[str] | None = None,
) -> dict[str, Part]:
    """TOFU's evaluation sets: forget, retain, real authors, world facts, holdout, and the forget set in other words.

    Args:
        tokenizer: of `transformers`.
        size: "01", "05" or "10".
        source: name on the hub, or a local folder.
        form: how a prompt is written, as in training.
        generate: tokens at most of a generated answer.
        gradient: also the gradient-norm attack, at a backward pass per forget and holdout example.
        at_most: examples of each set, the first ones; None takes all.
        retained: ids of the retain rows that the model was trained on, where those are a sample; None: all are.
    """
    encode = encoder(tokenizer, form)

    def rows(config: str, of: Container[str] | None = None) -> Sequence[Mapping[str, Any]]:
        return [row for row in tofu(config, source) if of is None or row["id"] in of][:at_most]

    forget = rows(f"forget{size}_perturbed")
    alone = [{"paraphrased_question": r["paraphrased_question"], "answer": r["answer"]} for r in forget]
    return {
        "forget": Part(examples(forget, encode), generate=generate, gradient=gradient),
        "holdout": Part(examples(rows(f"holdout{size}"), encode), gradient=gradient),
        "forget_paraphrased": Part(examples(alone, encode, question="paraphrased_question"), generate=generate),
        "retain": Part(examples(rows("retain_perturbed", retained), encode), generate=generate),
        "real_authors": Part(examples(rows("real_authors_perturbed"), encode), generate=generate),
        "world_facts": Part(examples(rows("world_facts_perturbed"), encode), generate=generate),
    }


def muse_parts(
    tokenizer: Any,
    corpus: Literal["News", "Books"] = "News",
    source: str | Path | None = None,
    *,
    max_length: int = 2048,
    at_most: int | None = None,
) -> dict[str, Part]:
    """MUSE's evaluation sets: texts to continue, questions on the forget and retain texts after some answered ones,
    and the forget and holdout texts of its membership attack.

    Args:
        tokenizer: of `transformers`.
        corpus: which of the two.
        source: a local folder with `CONFIG/SPLIT.jsonl`; None is the hub.
        max_length: tokens of a running text; what is longer is cut.
        at_most: examples of each set, the first ones; None takes all.

    Shi et al., MUSE, ICLR 2025 (arXiv:2407.06460); prompts and lengths are those of its code.
    """
    raw = choice_encoder(tokenizer)

    def asked(number: int, prompt: str, answer: str) -> Example:
        return Example(number, Tokenised.of(*raw(prompt, answer)), answer)

    def knowledge(side: str) -> Part:
        shots = "".join(_shot(t) for t in muse("knowmem", f"{side}_qa_icl", corpus, source))
        rows = muse("knowmem", f"{side}_qa", corpus, source)[:at_most]
        found = [asked(n, f"{shots}Question: {t.turns[-1][1]}\nAnswer: ", t.answer) for n, t in enumerate(rows)]
        return Part(found, forced=False, generate=_KNOWLEDGE, stops=muse_stops(), stemmer=False)

    def running(side: str) -> Part:
        rows = muse("privleak", side, corpus, source)[:at_most]
        encoded = [raw("", t.answer)[0][:max_length] for t in rows]
        texts = zip(rows, encoded, strict=True)
        return Part([Example(n, Tokenised.of(ids, 0), t.answer) for n, (t, ids) in enumerate(texts)])

    def begun(text: str) -> str:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:_VERBATIM]
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    verbatim = muse("verbmem", "forget", corpus, source)[:at_most]
    continued = [asked(n, t.turns[-1][1], begun(t.answer)) for n, t in enumerate(verbatim)]
    return {
        "forget": running("forget"),
        "holdout": running("holdout"),
        "forget_verbmem": Part(continued, forced=False, generate=_VERBATIM, stemmer=False),
        "forget_knowmem": knowledge("forget"),
        "retain_knowmem": knowledge("retain"),
    }


def wmdp_parts(
    tokenizer: Any, subject: str = "bio", source: str | Path | None = None, *, at_most: int | None = None
) -> dict[str, Part]:
    """WMDP's questions on one subject, as four options each.

    Args:
        tokenizer: of `transformers`.
        subject: "bio", "cyber" or "chem".
        source: a local folder with `wmdp-SUBJECT.jsonl`; None is the hub.
        at_most: the first so many questions; None takes all.
    """
    topic = {"bio": "biology", "cyber": "cybersecurity", "chem": "chemistry"}.get(subject, subject)
    rows = wmdp(f"wmdp-{subject}", source)[:at_most]
    return {"choices": Part(choices(rows, choice_encoder(tokenizer), topic=topic))}


def _shot(text: Text) -> str:
    return f"Question: {text.turns[-1][1]}\nAnswer: {text.answer}\n\n"
