"""What a call from Python leaves: the same scores, folder and page as a recipe's run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.utils.data import DataLoader, Subset

from tests._kinds import kind
from unweave import ConfigurationError, Contract, Result, UnsupportedError, unlearn
from unweave.cli import main
from unweave.evaluation import score

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")


def called(name: str = "regression", **options: object) -> Result:
    it = kind(name)
    given = {"contract": Contract(), "holdout": it.test, "steps": 2} | options
    return unlearn(it.original(), forget=it.forget, retain=it.retain, task=it.task, **given)  # type: ignore[arg-type]


def test_the_scores_of_all_models_that_are_known() -> None:
    it, result = kind("binary"), called("binary", retrained=kind("binary").original())
    found = result.scores()
    assert list(found) == ["original", "unlearned", "retrained"] and "FA" in found["original"]
    sets = {"forget": it.forget, "retain": it.retain, "test": it.test}
    assert found["unlearned"]["FA"].value == score(result.model, it.task, **sets)["FA"].value
    assert found["original"]["FA"].value == found["retrained"]["FA"].value, "they are the same model"


def test_a_folder_and_a_page(tmp_path: Path) -> None:
    result = called()
    folder = result.save(tmp_path / "run")
    summary, scores = (json.loads((folder / f"{each}.json").read_text()) for each in ("summary", "scores"))
    assert (summary["forget"], summary["retain"], summary["steps"]) == (40, 360, result.progress.made)
    assert scores["models"].keys() == {"original", "unlearned"} and len(
        (folder / "steps.jsonl").read_text().splitlines()
    )
    weights = safetensors.torch.load_file(folder / "model" / "model.safetensors")
    assert all(weights[key].equal(value) for key, value in result.model.state_dict().items())
    page = result.report(tmp_path / "pages" / "page.html").read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder)])
    assert not ended.value.code
    for text in (page, (folder / "report.html").read_text(encoding="utf-8")):
        assert "40 examples" in text and "hamu_q" in text and "A call from Python" in text
    with pytest.raises(ConfigurationError):
        result.save(folder)


def test_a_loader_is_scored_as_its_examples() -> None:
    it = kind("regression")
    result = unlearn(
        it.original(),
        forget=it.forget,
        retain=DataLoader(it.retain, batch_size=90),
        task=it.task,
        steps=1,
        contract=None,
    )
    assert result.scores(it.test)["unlearned"]["retain_loss"].n == 360


def test_what_nothing_can_be_made_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"never trained on: pass test=\.\.\."):
        called(holdout=None, contract=None).scores()
    inplace = called(inplace=True)
    assert inplace.scores().keys() == {"unlearned"}
    with pytest.raises(UnsupportedError, match="without inplace"):
        inplace.save(tmp_path / "run")
    with pytest.raises(UnsupportedError, match=r"only a result of unweave\.unlearn"):
        Result(torch.nn.Linear(1, 1)).report(tmp_path / "page.html")
    assert not (tmp_path / "run").exists()


def test_scores_on_what_was_trained_on_or_of_a_model_that_was_changed_are_refused(tmp_path: Path) -> None:
    it = kind("regression")
    model = it.original()
    result = unlearn(
        model, forget=it.forget, retain=it.retain, task=it.task, holdout=it.test, steps=1, contract=Contract()
    )
    with pytest.raises(ConfigurationError, match="test: expected examples that no step trains on, found 5 of 5"):
        result.scores(Subset(it.retain, range(5)))
    with pytest.raises(ConfigurationError, match="test must be a torch Dataset"):
        result.scores(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="it is a folder"):
        result.report(tmp_path)
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(ConfigurationError, match="expected a directory to write to"):
        result.report(tmp_path / "page.html" / "page.html")
    result.scores()
    model.load_state_dict(result.model.state_dict())
    with pytest.raises(ConfigurationError, match="changed since"):
        result.scores()
