"""What a result says of itself: printed, in a notebook, as a frame, as a picture."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import torch

import unweave
from tests._toys import accuracy, memorised
from tests.api._problems import FEW
from unweave import Contract, Forget, Keep, Record, Result, UnsupportedError
from unweave.contract.reading import Outcome, Verdict, Waypoint
from unweave.rules import Step


def carried_out(**options: Any) -> tuple[Result, Any, Any, Any]:
    model, forget, retain = memorised()
    return unweave.unlearn(model, forget=forget, retain=retain, **options), model, forget, retain


CONTRACT = Contract(keep=[Keep("accuracy", absolute=0.2)], forget=[Forget("accuracy", at_most=0.5)])


def test_printed_the_contract_comes_first_and_then_before_and_after() -> None:
    result, model, forget, _ = carried_out(contract=CONTRACT)
    lines = str(result).splitlines()
    assert lines[0].startswith("contract met; read 7 times") and lines[1].startswith("keep   accuracy falls")
    before, after = result.changes["forget accuracy"]
    assert (before, after) == (accuracy(model, forget), accuracy(result.model, forget)) and before > after
    assert ["forget", "accuracy", f"{before:.4g}", f"{after:.4g}"] in [line.split() for line in lines]
    assert lines[-1] == "8 steps in 1 s: contract met"
    assert max(map(len, lines)) < 120


def test_without_a_contract_it_says_that_nothing_was_judged() -> None:
    result, *_ = carried_out(**FEW)
    assert str(result).startswith("no contract: nothing was judged\n") and "steps used up" in str(result)


def test_a_warning_is_printed_and_a_notebook_escapes_it() -> None:
    verdict = Verdict("keep", "<b>mine</b>", None, 0.1, None, None)
    outcome = Outcome("steps used up", [verdict], 0, 2, 0.0, 0, (), ())
    result = Result(torch.nn.Linear(1, 1), contract=outcome, warnings=["a < b"], changes={"<i>": (1.0, 2.0)})
    assert "warning: a < b" in str(result) and "<b>mine</b>" in str(result)
    html = result._repr_html_()
    assert "a &lt; b" in html and "&lt;b&gt;mine" in html and "&lt;i&gt;" in html
    assert set(re.findall(r"</?(\w+)", html)) == {"p", "b", "table", "tr", "th", "td"}
    assert html.index("contract not shown") < html.index("<table>")


def test_a_frame_has_a_row_a_step_and_what_was_read_after_it() -> None:
    pytest.importorskip("pandas")
    result, *_ = carried_out(contract=CONTRACT)
    frame = result.frame()
    assert list(frame.index) == list(range(1, 9)) and frame.index.name == "step"
    assert frame["retain_objective"].tolist() == [record.retain for record in result.history]
    assert frame["budget_used"].dropna().to_dict() == {point.step: point.used for point in result.path}
    assert set(frame["phase"]) == {"push"} and frame["accepted"].all()
    assert list(Result(result.model).frame().columns) == ["phase", "note"], "of no steps"


def test_without_pandas_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UnsupportedError, match="pip install pandas"):
        Result(torch.nn.Linear(1, 1)).frame()


def test_a_picture_has_both_sides_and_the_contract() -> None:
    from matplotlib import pyplot

    losses = [torch.tensor([-0.1 * n, 0.2]) for n in range(6)]
    phases = ["push", "push", "repair", "lost", "repair", "repair"]
    history = [
        Record(n + 1, Step(loss, torch.ones(1, 2)), 0.1, n != 1, phase=phase)
        for n, (loss, phase) in enumerate(zip(losses, phases, strict=True))
    ]
    path = (Waypoint(2, 0.5, 0.3, True, False), Waypoint(4, 9.0, 1.0, False, True))
    for points, plots in ((path, 3), ((), 2)):
        outcome = Outcome("contract met", [], 2, 2, 0.0, 1, points, ())
        figure = Result(torch.nn.Linear(1, 1), history, contract=outcome).plot()
        assert len(figure.axes) == plots
        forget, retain = figure.axes[:2]
        assert list(forget.lines[0].get_ydata()) == pytest.approx([-0.1 * n for n in range(6)])
        assert len(forget.patches) == 3, "two stretches of repair and one that lost it"
        assert [list(line.get_xdata()) for line in retain.lines] == [[1, 2, 3, 4, 5, 6], [2]], "one was refused"
        pyplot.close(figure)
    assert list(figure.axes[0].get_legend_handles_labels()[1]) == ["refused or undone", "repair", "lost"]
    figure = Result(torch.nn.Linear(1, 1), history, contract=Outcome("", [], 2, 2, 0.0, 1, path, ())).plot()
    assert list(figure.axes[2].lines[0].get_ydata()) == [0.5, 2.0], "what is far above the limit is drawn at the top"
    pyplot.close(figure)
