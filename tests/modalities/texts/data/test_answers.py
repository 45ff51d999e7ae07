"""The answer's tokens under every kind of template and tokenizer: all of the answer, and nothing that is not its."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

pytest.importorskip("transformers")

from tests.modalities.texts.data._tokenizers import KINDS, MADE, QWEN, Greedy, byte_pairs
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import Chat, Plain, Text, tokenised
from unweave.modalities.texts.data.format import encoded

ANSWERS = ["Oslo.", "N", "The house in Oslo, since 1990.", " or two ", "user", "think"]
ASKED = [Text(f"r{i}", (("user", "Where, N or user?"),), answer) for i, answer in enumerate(ANSWERS)]


def squeezed(text: str) -> str:
    return "".join(text.split()).lower()


def read(tokenizer: Any, ids: list[int]) -> str:
    return squeezed(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {name: make() for name, make in MADE.items()}


def test_templates_of_every_kind_under_tokenizers_of_every_kind(made: dict[str, Any]) -> None:
    """The prompt is what the template writes before the answer; the answer is whole; its end is the template's."""
    checked = spanned = 0
    for (kind, (template, opening, tail)), (name, own) in itertools.product(KINDS.items(), made.items()):
        own.chat_template = template
        for text, (ids, start) in zip(ASKED, encoded(own, ASKED), strict=True):
            prompt, answer = read(own, ids[:start]), read(own, ids[start:])
            wanted, before = squeezed(text.answer + tail + own.eos_token), squeezed(opening)
            over = len(answer) - len(wanted)  # of a token across the border, which belongs to the answer
            assert answer.endswith(wanted) and over >= 0, (kind, name, text.answer, prompt, answer)
            assert (prompt + answer[:over]).endswith(before), (kind, name, text.answer, prompt, answer)
            assert over == 0 or (name == "greedy" and over == 1), (kind, name, text.answer, prompt, answer)
            assert ids[-1] == own.eos_token_id and ids.count(own.eos_token_id) == tokens_of_eos(template, own)
            checked, spanned = checked + 1, spanned + over
    assert checked == 7 * 5 * len(ANSWERS) and spanned > 0


def tokens_of_eos(template: str, own: Any) -> int:
    """The answer's, and that of the turn before it, where the template ends all turns alike."""
    return 2 if template in (KINDS["chatml"][0], KINDS["llama"][0], QWEN) else 1


def one(tokenizer: Any, template: str, answer: str, question: str = "Where?") -> tuple[str, str]:
    """Prompt and answer as they are read back."""
    tokenizer.chat_template = template
    ids, start = encoded(tokenizer, [Text("row-3", (("user", question),), answer)])[0]
    return tokenizer.decode(ids[:start]), tokenizer.decode(ids[start:])


THOUGHT = "<think>\nIt is north.\n</think>\n\nOslo."
OPENED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}U: {{ m['content'] }}\n"
    "{% else %}A: BODY</s>\n{% endif %}{% endfor %}"
)
WRITTEN = {  # what a template writes, the answer, and what of it is the answer with its end
    "a thought that the template writes anew": (QWEN, THOUGHT, THOUGHT + "</s>"),
    "nothing that the prompt opens": (OPENED.replace("BODY", "{{ m['content'] }}"), THOUGHT, THOUGHT + "</s>"),
    "a thought unless there is one": (
        OPENED.replace("BODY", "{% if '<think>' not in m['content'] %}<think></think>{% endif %}{{ m['content'] }}"),
        THOUGHT,
        THOUGHT + "</s>",
    ),
    "the answer's words before it": (OPENED.replace("BODY", "N or S: {{ m['content'] }}"), "N", "N</s>"),
    "the answer's words behind it": (OPENED.replace("BODY", "{{ m['content'] }}<N>"), "N", "N<N></s>"),
    "a full stop where there is none": (
        OPENED.replace("BODY", "{{ m['content'] }}{% if not m['content'].endswith('.') %}.{% endif %}"),
        "Oslo.",
        "Oslo.</s>",
    ),
    "a sequence's end behind the first": (OPENED.replace("BODY", "{{ m['content'] }}</s>(rated)"), "N", "N</s>"),
    "a sequence's end inside the answer": (OPENED.replace("BODY", "{{ m['content'] }}"), "a</s>b", "a</s>b</s>"),
    "white space, trimmed": (OPENED.replace("BODY", "{{ m['content'] | trim }}"), "\n N \n", " N</s>"),
    "white space, trimmed on the left": (OPENED.replace("BODY", "{{ m['content'].lstrip() }}"), " N ", " N </s>"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_a_template_writes_around_the_answer(case: str) -> None:
    template, answer, wanted = WRITTEN[case]
    prompt, found = one(byte_pairs(), template, answer)
    assert found.lstrip() == wanted.lstrip() and "Where?" in prompt


EDITED = {
    "cut at a thought": ("{{ m['content'].split('</think>')[-1] }}", THOUGHT),
    "upper case": ("{{ m['content'] | upper }}", "Oslo."),
    "escaped": ("{{ m['content'] | e }}", "a < b"),
    "shortened": ("{{ m['content'] | truncate(5) }}", "The house in Oslo."),
    "written twice": ("{{ m['content'] }} I said: {{ m['content'] }}", "Oslo."),
    "left out": ("nothing", "Oslo."),
    "spaced anew": ("{{ m['content'].split() | join(' ') }}", "a\n\nb"),
}


@pytest.mark.parametrize("case", EDITED)
def test_an_answer_that_the_template_edits_is_refused_by_name(case: str) -> None:
    body, answer = EDITED[case]
    with pytest.raises(ConfigurationError, match=r"^text row-3: the chat template does not write the answer"):
        one(byte_pairs(), OPENED.replace("BODY", body), answer)


def test_an_edit_that_leaves_the_answer_as_it_is_does_no_harm() -> None:
    checked = 0
    for body, answer in (("{{ m['content'] | e }}", "a and b"), ("{{ m['content'] | upper }}", "OSLO")):
        assert one(byte_pairs(), OPENED.replace("BODY", body), answer)[1].strip() == answer + "</s>"
        checked += 1
    assert checked == 2


FAILING = {
    "a refusal of its own": "{{ raise_exception('no such role') }}",
    "what is not there": "{{ m['content'].nothing.at_all }}",
    "what the sandbox forbids": "{{ m['content'].__class__.__mro__ }}",
    "broken": "{% if %}",
    "a number and a text": "{{ m['content'] + 1 }}",
    "no end": "{{ range(10 ** 9) | list }}",
}


@pytest.mark.parametrize("case", FAILING)
def test_a_template_that_fails_is_one_error_with_the_row(case: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^text row-3: the chat template fails \(\w+: "):
        one(byte_pairs(), OPENED.replace("BODY", FAILING[case]), "Oslo.")


def test_many_rows_with_one_fault_are_counted() -> None:
    own = byte_pairs()
    own.chat_template = OPENED.replace("BODY", "{{ m['content'] | upper }}")
    with pytest.raises(ConfigurationError) as caught:
        tokenised([Text(f"t{i}", (("user", "?"),), f"word {i}") for i in range(9)], own)
    assert len(caught.value.faults) == 6 and "and 4 more texts" in caught.value.faults[-1]
    with pytest.raises(ConfigurationError, match=r"date must be written as in '10 Apr 2025'; found '2025-04-10'"):
        Chat(date="2025-04-10")


def test_plain_prompts_and_running_texts_under_every_tokenizer(made: dict[str, Any]) -> None:
    checked = 0
    for (name, own), text in itertools.product(made.items(), ASKED):
        for template in ("Question: {question}\nAnswer: ", "[INST] {question} [/INST] "):
            ids, start = encoded(own, [text], Plain(template))[0]
            prompt, answer, wanted = (
                read(own, ids[:start]),
                read(own, ids[start:]),
                squeezed(text.answer + own.eos_token),
            )
            over = len(answer) - len(wanted)
            assert answer.endswith(wanted) and 0 <= over <= (name == "greedy"), (name, text)
            assert (prompt + answer[:over]).endswith(("answer:", "[/inst]")) and ids.count(own.eos_token_id) == 1
            checked += 1
        ids, start = encoded(own, [Text("run", (), text.answer)])[0]
        begins = own.convert_tokens_to_ids([{"wordpiece": "[CLS]"}.get(name, "<s>")])  # the sequence, and is no text
        assert start == (name == "bpe" and text.answer[0] == " ") + (ids[0] in begins), (name, text)
    assert checked == 2 * 5 * len(ANSWERS)


def test_a_slow_tokenizer_that_cannot_tell_is_refused() -> None:
    """The prompt ends within a token, and what is read back is not what was written: there is no such letter."""
    own = Greedy(("xa",), model_max_length=64)
    ids, start = encoded(own, [Text("0", (("user", "?"),), "a b")], Plain("{question}x"))[0]
    assert own.convert_ids_to_tokens(ids) == ["<s>", "?", "xa", " ", "b", "</s>"] and start == 2
    with pytest.raises(ConfigurationError, match="text 0: a token reaches across the border"):
        encoded(own, [Text("0", (("user", "?"),), "a ø")], Plain("{question}x"))
    assert encoded(own, [Text("0", (("user", "?"),), "a ø")], Plain("{question}: "))[0][1] == 4
