"""Methods without steps through the one call."""

from __future__ import annotations

import copy

import pytest
import torch

import unweave
from tests._toys import memorised, same, weights
from tests.api._problems import rng, sgd
from unweave.contract.keeper import ONLY
from unweave.oneshot import OneShot, ssd


def test_by_its_name_and_with_settings() -> None:
    model, forget, retain = memorised()
    state, random = copy.deepcopy(model.state_dict()), rng()
    result = unweave.unlearn(model, forget=forget, retain=retain, method="ssd")
    assert rng().equal(random) and all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert (result.steps, result.reason) == (1, ONLY)
    expected = copy.deepcopy(model)
    ssd(expected, unweave.Vision(), forget, retain)
    assert same(weights(result.model), weights(expected)) and not same(weights(expected), weights(model))
    other = unweave.unlearn(model, forget=forget, retain=retain, method=OneShot("ssd", {"selection": 30.0}))
    ssd(model, unweave.Vision(), forget, retain, selection=30.0)
    assert same(weights(other.model), weights(model)) and not same(weights(other.model), weights(result.model))


def test_only_chosen_weights_and_loaders() -> None:
    model, forget, retain = memorised()
    sides = [torch.utils.data.DataLoader(data, batch_size=32) for data in (forget, retain)]
    result = unweave.unlearn(model, forget=sides[0], retain=sides[1], method="ssd", parameters="0.*")
    moved = {n for n, p in result.model.named_parameters() if not p.equal(model.get_parameter(n))}
    assert moved and all(name.startswith("0.") for name in moved)


def test_a_contract_holds() -> None:
    model, forget, retain = memorised()
    keep = [unweave.Keep("loss", absolute=1e-6, clip=1e-5)]
    contract = unweave.Contract(keep=keep, forget=[unweave.Forget("loss", at_least=9)])
    with pytest.warns(unweave.GuardWarning, match="CHANGED NOTHING"):
        result = unweave.unlearn(model, forget=forget, retain=retain, method="ssd", contract=contract)
    assert same(weights(result.model), weights(model))
    assert result.contract is not None and not result.contract.met


def test_it_has_no_step_length() -> None:
    model, forget, retain = memorised()
    with pytest.raises(unweave.ConfigurationError, match="ssd takes no steps"):
        unweave.unlearn(model, forget=forget, retain=retain, method="ssd", step=sgd)
    with pytest.raises(unweave.ConfigurationError, match="Did you mean 'ssd'"):
        unweave.unlearn(model, forget=forget, retain=retain, method="sdd")


def test_its_settings_are_checked_when_it_is_made() -> None:
    with pytest.raises(unweave.ConfigurationError) as caught:
        OneShot("ssd", {"selektion": 3, "dampening": -1, "batch": 2.5})
    assert [text[:20] for text in caught.value.faults] == [
        "selektion is nothing",
        "dampening must be a ",
        "batch must be an int",
    ]
    assert "Did you mean 'selection'?" in caught.value.faults[0]
