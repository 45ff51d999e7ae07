"""The edit by its name: through the one call, under a contract, in the catalogue."""

from __future__ import annotations

import copy

import pytest
import torch

import unweave
from tests._toys import same, weights
from tests.edit._nets import CLASSES, Rows, attending, called, class_task, class_unet, drawn, text_task, texts
from unweave.contract.keeper import ONLY
from unweave.edit import uce
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.oneshot import ONESHOT, OneShot
from unweave.tasks import Classification

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")  # the models are untrained ones
TEXTS = (Rows(texts(1), 30), Rows(texts(4)[1:], 40))


def test_by_its_name_and_with_settings() -> None:
    model, task = attending(), text_task(call=called)
    result = unweave.unlearn(model, forget=TEXTS[0], retain=TEXTS[1], task=task, method="uce")
    assert (result.steps, result.reason) == (1, ONLY) and same(weights(model), weights(attending()))
    expected = copy.deepcopy(model)
    uce(expected, task, *TEXTS)
    assert same(weights(result.model), weights(expected)) and not same(weights(expected), weights(model))
    settings = {"guide": texts(5)[4], "lamb": 3, "rounds": 2, "preserve": texts(4)[2:]}
    other = unweave.unlearn(model, forget=TEXTS[0], retain=TEXTS[1], task=task, method=OneShot("uce", settings))
    again = copy.deepcopy(model)
    uce(again, task, *TEXTS, **settings)
    assert same(weights(other.model), weights(again)) and not same(weights(again), weights(expected))


def test_chosen_weights_and_loaders() -> None:
    model, task = attending(), text_task(call=called)
    sides = [torch.utils.data.DataLoader(data, batch_size=16) for data in TEXTS]
    given = {"forget": sides[0], "retain": sides[1], "task": task, "method": "uce"}
    result = unweave.unlearn(model, **given, parameters="*to_v*")
    assert {n for n, p in result.model.named_parameters() if not p.equal(model.get_parameter(n))} == {
        "attn2.to_v.weight"
    }
    with pytest.raises(ConfigurationError, match="all 2 weights that uce could edit are frozen"):
        unweave.unlearn(model, **given, parameters="out.*")


def test_a_contract_measures_it_as_any_other() -> None:
    """A class is taken for another, which fits its images worse, and the others are what they were."""
    model, task, ids = class_unet(), class_task(), torch.arange(CLASSES)
    before = copy.deepcopy(model)
    forget = [unweave.Forget("loss", at_least=99)]  # never there, so that the change is made
    contract = unweave.Contract(keep=[unweave.Keep("loss", relative=0.2)], forget=forget)
    given = {"forget": Rows(ids[1:2], 100), "retain": Rows(ids[[0, 2, 3]], 200), "task": task, "contract": contract}
    result = unweave.unlearn(model, **given, method=OneShot("uce", {"guide": 0}))
    assert result.contract is not None
    assert [each.met for each in result.contract.verdicts] == [True, False]
    torch.testing.assert_close(drawn(result.model, task, ids), drawn(before, task, ids)[[0, 0, 2, 3]])


def test_rows_of_other_tasks_are_refused_before_a_weight_moves() -> None:
    with pytest.raises(
        UnsupportedError, match=r"uce is about diffusion models and needs tasks\.Diffusion; found Class"
    ):
        OneShot("uce").read(Classification())
    with pytest.raises(ConfigurationError, match="this model has no such condition: give guide"):
        OneShot("uce").read(class_task(null=None))
    assert OneShot("uce", {"guide": 0}).read(class_task(null=None))
    assert OneShot("ssd").read(Classification()) and OneShot("uce").read(class_task())


def test_every_method_without_steps_runs_on_a_denoiser() -> None:
    ids = torch.arange(CLASSES)
    for name in ONESHOT:
        model = class_unet()
        result = unweave.unlearn(
            model, forget=Rows(ids[:1], 12), retain=Rows(ids[1:], 12), task=class_task(), method=name
        )
        assert result.steps == 1 and not same(weights(result.model), weights(model))


def test_settings_are_checked_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError) as caught:
        OneShot("uce", {"tokens": "frist", "gide": 3, "erase": [-1], "lamb": 0})
    assert [text.split()[0] for text in caught.value.faults] == ["gide", "erase", "tokens", "lamb"]
    assert "Did you mean 'guide'" in caught.value.faults[0]
