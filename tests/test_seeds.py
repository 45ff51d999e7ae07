"""Seeds: every one below 2^63 works wherever it goes, every other is refused before anything is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from tests._toys import memorised
from unweave import unlearn
from unweave.arguments import SEEDS, fault
from unweave.audit.robustness import Relearning
from unweave.cli import app
from unweave.errors import ConfigurationError
from unweave.losses.representation import Misdirection
from unweave.modalities.images.training import Training
from unweave.modalities.texts.evaluation import Relearning as TextRelearning
from unweave.modalities.texts.training import Finetuning
from unweave.tasks import Language

TAKERS: dict[str, Callable[[int], object]] = {
    "training": lambda seed: Training(1, 1, 0.1, seed=seed),
    "fine-tuning": lambda seed: Finetuning(seed=seed),
    "relearning": lambda seed: Relearning(seed=seed),
    "relearning of texts": lambda seed: TextRelearning(seed=seed),
    "direction": lambda seed: Misdirection(Language(), seed=seed),
}


@pytest.mark.parametrize("name", TAKERS)
def test_seeds_that_torch_cannot_take_are_refused(name: str) -> None:
    refused = 0
    for seed in (2**64, 2**63, -1, 10**400, 0.5, "1"):
        with pytest.raises(ConfigurationError, match=r"seed .*9223372036854775808"):
            TAKERS[name](seed)  # type: ignore[arg-type]
        refused += 1
    assert refused == 6
    assert TAKERS[name](2**63 - 1) and TAKERS[name](0)


def test_no_float_can_be_that_large() -> None:
    assert fault("lr", 10**400, float, "[0, inf)") and fault("lr", -(10**400), float)
    assert not fault("lr", 10**300, float, "[0, inf)") and not fault("lr", 2**63, int)
    assert fault("seed", 2**63, int, SEEDS) and not fault("seed", 2**63 - 1, int, SEEDS), "compared as integers"


@pytest.mark.parametrize("options", [{"method": "hamu_q"}, {"method": "ssd"}], ids=str)
def test_the_call_takes_every_seed_or_none(options: dict[str, str]) -> None:
    model, forget, retain = memorised()
    assert (
        unlearn(model, forget=forget, retain=retain, task="classification", seed=2**63 - 1, steps=1, **options).model
        is not model
    )
    refused = 0
    for seed in (2**63, 2**64, -1, 10**400):
        with pytest.raises(ConfigurationError, match="seed must be an integer in"):
            unlearn(model, forget=forget, retain=retain, task="classification", seed=seed, **options)
        refused += 1
    assert refused == 4


@pytest.mark.parametrize("command", [["demo"], ["audit", "plan", "ids.txt", "-o", "audit"]], ids=lambda c: c[0])
def test_the_command_refuses_them_at_once(command: list[str]) -> None:
    for seed in (2**63, 2**64, -1):
        assert CliRunner().invoke(app, [*command, "--seed", str(seed)]).exit_code == 2
