"""Texts end to end, as a user would: a file of questions and answers, a model folder, ids to forget, one call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import unweave
from tests._texts import llama, tokenizer
from unweave.losses import NPO, Anchor, Misdirection, SimNPO, reference
from unweave.methods import METHODS, Method
from unweave.modalities.texts.data import TextRows, by_id, read_table, texts, tokenised
from unweave.pretrained import Lora, adapt, load
from unweave.tasks import Language

TASK = Language()
NAMES = ["Ana", "Bela", "Caro", "Dana", "Enzo", "Fela", "Gita", "Hugo"]
PLACES = ["Lima", "Oslo", "Rome", "Cork", "Bern", "Kyiv", "Giza", "Nice"]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, TextRows, TextRows]:
    """A folder with a model that learned 24 facts, read back; and the four facts to forget of them."""
    folder = tmp_path_factory.mktemp("texts")
    facts = []
    for i, (name, place) in enumerate(zip(NAMES, PLACES, strict=True)):
        for what, answer in (
            ("born", f"In {place}."),
            ("work", f"As a {PLACES[i - 3]} guide."),
            ("live", f"Near {place} {i}."),
        ):
            facts.append({"id": f"{name}/{what}", "question": f"{what}: {name}?", "answer": answer})
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, facts)))
    (folder / "request.txt").write_text("Ana/born\nAna/work\nAna/live\nBela/born\n")
    own = tokenizer([f["question"] + " " + f["answer"] for f in facts])
    rows = tokenised(texts(read_table(folder / "facts.jsonl")), own)
    model = llama(vocabulary=len(own), hidden_size=32)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(35):
        optimizer.zero_grad()
        TASK.nll(model, rows.batch(range(24))).mean().backward()
        optimizer.step()
    model.save_pretrained(folder / "model")
    own.save_pretrained(folder / "model")
    split = by_id(rows.texts, folder / "request.txt")
    assert (len(split.forget), len(split.retain)) == (4, 20)
    return load(folder / "model")[0], rows.subset(split.forget), rows.subset(split.retain)


@torch.no_grad()
def loss(model: nn.Module, rows: TextRows) -> float:
    return float(TASK.nll(model, rows.batch(range(len(rows)))).mean())


COMBINATIONS: dict[str, Callable[[nn.Module], Method]] = {
    "hamu_q over NPO": lambda m: replace(METHODS["hamu_q"](TASK, m), forget=NPO(TASK, reference(m))),
    "eupmu over SimNPO": lambda m: replace(METHODS["eupmu"](TASK, m), forget=SimNPO(TASK)),
    "pcgrad over RMU": lambda m: replace(
        METHODS["pcgrad"](TASK, m), forget=Misdirection(TASK, 0), retain=Anchor(TASK, reference(m), 0)
    ),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_forgets_and_keeps(problem: tuple[nn.Module, TextRows, TextRows], name: str) -> None:
    model, forget, retain = problem
    before = loss(model, forget), loss(model, retain)
    assert max(before) < 0.4, "it knows them"
    method = COMBINATIONS[name](model)
    result = unweave.unlearn(
        model, forget=forget, retain=retain, task="language", method=method, steps=20, retain_batch=20
    )
    after = loss(result.model, forget), loss(result.model, retain)
    assert (loss(model, forget), loss(model, retain)) == before, "the model itself is as it was"
    with torch.no_grad():
        sides = [float(method.forget(m, forget.batch(range(4))).mean()) for m in (model, result.model)]  # type: ignore[misc]
    assert sides[1] < sides[0] - 0.02 * abs(sides[0]), sides
    if "RMU" not in name:
        assert after[0] > before[0] + 0.5, (before, after, result.reason)
    assert after[1] < before[1] + 0.2, (before, after, result.reason)


def test_npo_by_name_asks_once_and_keeps_no_copy(
    problem: tuple[nn.Module, TextRows, TextRows], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, forget, retain = problem

    def copied(_: nn.Module) -> nn.Module:
        raise AssertionError("a second model was made")

    monkeypatch.setattr("unweave.losses.original.frozen", copied)
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path))
    first, again = (
        unweave.unlearn(model, forget=forget, retain=retain, task="language", method="npo", steps=4) for _ in range(2)
    )
    assert all(a.equal(b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert list((tmp_path / "reference").glob("*.safetensors"))


@pytest.mark.filterwarnings("ignore:step length")  # LoRA's A has a gradient once B has moved, and not before
@pytest.mark.parametrize("method", ["kl", "npo", "hamu_q"])
def test_lora_in_place(
    problem: tuple[nn.Module, TextRows, TextRows], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapters move alone, no second model is made, and without them the model is the original."""
    import copy

    original, forget, retain = problem
    model = adapt(copy.deepcopy(original), Lora(rank=4)).eval()
    base = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    monkeypatch.setattr("unweave.losses.original.frozen", lambda _: pytest.fail("a second model was made"))
    result = unweave.unlearn(
        model, forget=forget, retain=retain, task="language", method=method, steps=10, retain_batch=20, inplace=True
    )
    assert result.model is model and loss(model, forget) > loss(original, forget) + 0.02
    assert all(p.equal(base[n]) for n, p in model.named_parameters() if n in base) and len(base) > 10
    with model.disable_adapter():
        assert loss(model, forget) == pytest.approx(loss(original, forget), rel=1e-6)


def test_forget_texts_inside_retain_are_refused(problem: tuple[nn.Module, TextRows, TextRows]) -> None:
    model, forget, retain = problem
    with pytest.raises(unweave.ConfigurationError, match=r"found 4 of 4 forget examples in the retain set too"):
        unweave.unlearn(model, forget=forget, retain=forget, task="language", steps=1)
    assert retain is not forget
