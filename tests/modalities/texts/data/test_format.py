"""Which tokens are the answer, character by character."""

from __future__ import annotations

from typing import Any

import pytest

from tests._texts import tokenizer
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import Chat, Plain, Text, tokenised
from unweave.modalities.texts.data.format import encoded

QUESTIONS = ["Where was Ana born?", "Who wrote it?", "In which year?", "Why?"]
ANSWERS = ["In Lima, of course.", "Nobody knows.", "1956", "  It rained, and the gate was shut. "]
TEXTS = [Text(str(i), (("user", q),), a) for i, (q, a) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))]


@pytest.fixture(scope="module")
def own() -> Any:
    return tokenizer(QUESTIONS + ANSWERS)


def test_chat_the_answer_is_the_answer_and_ends_with_eos(own: Any) -> None:
    found = encoded(own, TEXTS)
    assert len(found) == 4
    for text, (ids, start) in zip(TEXTS, found, strict=True):
        assert own.decode(ids[:start]) == f"<s>Today: 10 Apr 2025 2025\n<user>\n{text.turns[0][1]}</s>\n<assistant>\n"
        assert own.decode(ids[start:]) == text.answer.strip() + "</s>"
        assert ids[-1] == own.eos_token_id, "what the template writes after it is cut off"


def test_the_date_stands_still_and_can_be_another(own: Any) -> None:
    ids, _ = encoded(own, TEXTS[:1], Chat(system="Be brief.", date="01 Jan 1999"))[0]
    assert own.decode(ids).startswith("<s>Today: 01 Jan 1999 1999\n<system>\nBe brief.</s>\n<user>\nWhere")


@pytest.mark.parametrize("template", ["Question: {question}\nAnswer: ", "[INST] {question} [/INST]"])
def test_plain_prompts(own: Any, template: str) -> None:
    for text, (ids, start) in zip(TEXTS, encoded(own, TEXTS, Plain(template)), strict=True):
        head = template.format(question=text.turns[0][1])
        assert own.decode(ids) == f"<s>{head}{text.answer}</s>"
        answer = own.decode(ids[start:])
        assert answer.endswith(text.answer.lstrip() + "</s>") and len(answer) - len(text.answer) in (4, 5)
        assert ids[0] == own.bos_token_id and start > 3


def test_a_token_across_the_border_belongs_to_the_answer() -> None:
    """Trained on "xa" alone, the tokenizer has one token for it; the prompt ends with x, the answer is a."""
    own = tokenizer(["xa"] * 50, chat=False)
    ids, start = encoded(own, [Text("0", (("user", "?"),), "a")], Plain("{question}x"), eos=False)[0]
    assert own.convert_ids_to_tokens(ids) == ["<s>", "?", "xa"] and start == 2


def test_running_texts_have_no_prompt_and_no_end(own: Any) -> None:
    ids, start = encoded(own, [Text("0", (), "It rained.")])[0]
    assert own.decode(ids) == "<s>It rained." and start == 1
    assert encoded(own, [Text("0", (), "It rained.")], eos=True)[0][0] == [*ids, own.eos_token_id]


def test_longer_conversations_ask_for_the_last_answer_only(own: Any) -> None:
    turns = (("user", "Who?"), ("assistant", "Ana."), ("user", "Where?"))
    ids, start = encoded(own, [Text("0", turns, "Lima.")])[0]
    assert own.decode(ids[start:]) == "Lima.</s>"
    with pytest.raises(ConfigurationError, match="text 0 has 3 turns"):
        encoded(own, [Text("0", turns, "Lima.")], Plain())


def test_a_template_that_opens_the_answer_in_another_way(own: Any) -> None:
    own = tokenizer(QUESTIONS)
    own.chat_template = own.chat_template.replace("<assistant>\n{% endif %}", "<assistant>\n<think>{% endif %}")
    ids, start = encoded(own, TEXTS[:1])[0]
    assert own.decode(ids[start:]) == "In Lima, of course.</s>"


def test_what_a_tokenizer_lacks_is_said() -> None:
    bare = tokenizer(QUESTIONS, chat=False)
    with pytest.raises(ConfigurationError, match=r"no chat template: pass format=Plain\("):
        tokenised(TEXTS, bare)
    assert len(tokenised(TEXTS, bare, format=Plain())) == 4
    bare.eos_token = None
    with pytest.raises(ConfigurationError, match=r"no end-of-sequence token.*set tokenizer.eos_token"):
        tokenised(TEXTS, bare, format=Plain())
    with pytest.raises(ConfigurationError, match=r"must hold \{question\}"):
        Plain("Q: A:")
