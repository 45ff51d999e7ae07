"""What looks on while a run goes: steps, readings and the end, in their order; the log; the bar; an error; Ctrl-C."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import unweave
from tests._toys import each_step, memorised, same, unseen, weights
from tests.api._problems import FEW
from unweave import Contract, Forget, Keep
from unweave import watch as shown


def contract(level: float = 0.5) -> Contract:
    return Contract(keep=[Keep("accuracy", absolute=0.2)], forget=[Forget("accuracy", at_most=level)])


class Listens:
    """All three."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_step(self, record: Any, objectives: Any) -> None:
        self.heard.append(("step", record.number))

    def on_reading(self, reading: Any) -> None:
        self.heard.append(("reading", reading.step))

    def on_end(self, result: Any) -> None:
        self.heard.append(("end", result))


def test_steps_readings_and_the_end_in_their_order() -> None:
    """A reading comes after the step that it is of; the end comes once, when the result says all that it will."""
    model, forget, retain = memorised()
    listens = Listens()
    result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract(), callbacks=[listens])
    assert result.contract is not None and result.contract.every == 2
    assert [look.step for look in result.contract.path] == [2, 4, 6, *[8] * 4], "three on the way back"
    (*heard, (last, given)) = listens.heard
    wanted = [each for n in range(1, 9) for each in [("step", n), *([] if n % 2 else [("reading", n)])]]
    assert heard == wanted and (last, given) == ("end", result)
    assert given is result and given.task is not None and given.contract.met and given.changes


def test_the_log_says_what_happened_and_no_handler_is_ours(caplog: pytest.LogCaptureFixture) -> None:
    model, forget, retain = memorised()
    with caplog.at_level(logging.INFO, "unweave"):
        result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract())
    told = [record.getMessage() for record in caplog.records if record.name == "unweave"]
    assert "task='auto' took Classification()" in told and "step 1: push" in told
    assert "before the first step the guards found nothing" in told
    assert [text for text in told if text.startswith("step 8: the contract was read: ") and "100 % of the way" in text]
    assert told[-1].startswith("ended after 8 steps") and told[-1].endswith(f": {result.reason}")
    assert not logging.getLogger("unweave").handlers and {record.levelname for record in caplog.records} == {"INFO"}


def test_a_phase_is_logged_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    model, forget, retain = memorised()
    with caplog.at_level(logging.INFO, "unweave"):
        result = unweave.unlearn(model, forget=forget, retain=retain, repair=True, **FEW | {"steps": 10})
    told = [record.getMessage() for record in caplog.records]
    first = next(record.number for record in result.history if record.phase == "repair")
    assert first > 1 and f"step {first}: repair" in told and sum(text.endswith(": repair") for text in told) == 1


@pytest.mark.parametrize("kind", [KeyError, unweave.ConfigurationError])
@pytest.mark.parametrize("method", ["on_reading", "on_end"])
def test_an_error_says_whose_it_is(method: str, kind: type[Exception]) -> None:
    model, forget, retain = memorised()

    def fail(*_: object) -> None:
        raise kind("mine")

    with pytest.raises(kind) as caught:
        callback: Any = SimpleNamespace(**{method: fail})
        unweave.unlearn(model, forget=forget, retain=retain, contract=contract(), callbacks=[callback])
    where = {"on_reading": "after the reading at step 2", "on_end": "at the end"}[method]
    assert caught.value.__notes__ == [f"raised in the callback SimpleNamespace.{method}, {where}"]


def test_ctrl_c_leaves_a_result_that_is_told_to_the_end() -> None:
    model, forget, retain = memorised()
    listens = Listens()

    def interrupt(record: Any, objectives: Any) -> None:
        if record.number == 3:
            raise KeyboardInterrupt

    result = unweave.unlearn(
        model, forget=forget, retain=retain, contract=contract(0.0), callbacks=[each_step(interrupt), listens]
    )
    assert result.reason == "interrupted" and listens.heard[-1] == ("end", result) and len(result.history) == 3
    assert result.contract is not None and result.contract.verdicts and result.changes


def test_the_end_can_save_what_is_left(tmp_path: Path) -> None:
    """The result is whole: also what it can be asked for more is there."""
    model, forget, retain = memorised()
    saves: Any = SimpleNamespace(on_end=lambda result: result.save(tmp_path / "left", unseen()))
    result = unweave.unlearn(model, forget=forget, retain=retain, callbacks=[saves], **FEW)
    from safetensors.torch import load_file

    (weights_file,) = (tmp_path / "left").rglob("*.safetensors")
    assert {name: tensor.shape for name, tensor in load_file(weights_file).items()} == {
        name: tensor.shape for name, tensor in result.model.state_dict().items()
    }
    assert all(torch.equal(tensor, load_file(weights_file)[name]) for name, tensor in result.model.state_dict().items())


def test_ctrl_c_at_the_end_leaves_the_result() -> None:
    model, forget, retain = memorised()

    def interrupt(result: Any) -> None:
        raise KeyboardInterrupt

    late: Any = SimpleNamespace(on_end=interrupt)
    result = unweave.unlearn(model, forget=forget, retain=retain, callbacks=[late], **FEW)
    assert result.steps == 3 and result.reason == "steps used up"


def test_looking_on_changes_nothing() -> None:
    model, forget, retain = memorised()
    sides: dict[str, Any] = {"forget": forget, "retain": retain, "contract": contract()}
    plain = unweave.unlearn(model, **sides)
    watched = unweave.unlearn(model, **sides, callbacks=[Listens()], progress=True)
    assert same(weights(plain.model), weights(watched.model))


@pytest.mark.parametrize(("asked", "lines"), [(True, ["looking at the data", "unlearning"]), (False, []), ("auto", [])])
def test_progress_is_shown_where_it_is_asked_for(
    asked: Any, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, forget, retain = memorised()
    unweave.unlearn(model, forget=forget, retain=retain, progress=asked, **FEW)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == lines


def test_auto_is_for_terminals_and_not_for_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    with shown.watching("auto") as watch:
        assert watch is shown.silent, "a test that is run with -s"
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with shown.watching("auto") as watch:
        assert watch is not shown.silent
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    with shown.watching("auto") as watch:
        assert watch is shown.silent


def test_a_notebook_has_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for IPython: a shell with a kernel, and a handle that is updated."""
    import sys

    pictures: list[str] = []
    handle = SimpleNamespace(update=pictures.append)
    display: Any = SimpleNamespace(HTML=str, display=lambda html, display_id: handle)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with shown.watching("auto") as watch:
        watch("a < b", 1, 4)
    assert pictures == ['<progress value="1" max="4"></progress> a &lt; b: 1 of 4', ""]
