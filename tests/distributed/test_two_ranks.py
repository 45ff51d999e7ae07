"""Two gloo processes give what one process gives: DDP, FSDP2 and accelerate, uneven shares, ragged micro-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests._gloo import ranks as start
from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, TORCHJD
from tests.distributed._ranks import (
    EXACT,
    REPAIRED,
    ROWS,
    STREAMED,
    TRUSTED,
    VARIANTS,
    WORLD,
    Outcome,
    data,
    network,
    outcomes,
    promised,
    repaired,
    row,
    run,
    sgd,
    streamed,
    worker,
)
from unweave.methods import METHODS

pytestmark = pytest.mark.slow  # the one start of two processes that everything here reads
SPECIAL = {
    **dict.fromkeys(("bucket view", "plain replicas", "half sharded"), "pcgrad"),
    "accelerate hamu_q": "hamu_q",
    "accelerate eupmu": "eupmu",
    "accelerate ofmu": "ofmu",
}


@pytest.fixture(scope="module")
def alone() -> dict[str, Outcome]:
    return outcomes(lambda model: model, lambda: data(1, 0, 1))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One start of two processes for everything here."""
    folder = tmp_path_factory.mktemp("ranks")
    start(worker, str(folder), world=WORLD)
    return [torch.load(Path(folder, f"rank{rank}.pt"), weights_only=False) for rank in range(WORLD)]


def assert_same(found: Outcome, expected: Outcome, what: str) -> None:
    """Float64; the difference of two gradients loses half of the digits, and the requirement is 1e-6."""
    tolerance = 1e-6 if "ofmu" in what else 1e-9
    for a, b in zip([*found["weights"], found["losses"]], [*expected["weights"], expected["losses"]], strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda m: f"{what}: {m}")
    assert found["notes"] == expected["notes"], what
    for one, other in ((found["state"], expected["state"]), (found["region"], expected["region"])):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9, nan_ok=True), what


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_ranks_are_one_process(kind: str, ranks: list[dict[str, Any]], alone: dict[str, Outcome]) -> None:
    count = 0
    for name, found in ranks[0][kind].items():
        assert_same(found, alone[name], f"{name} under {kind}")
        assert_same(ranks[1][kind][name], found, f"{name} under {kind}, rank 1 and rank 0")
        assert found["state"] == ranks[1][kind][name]["state"], f"{name}: all ranks take the same decision"
        count += 1
    assert count == len(ROWS) + len(VARIANTS) + len(TRUSTED) + (len(EXACT) if kind == "ddp" else 0)
    assert set(METHODS) - TORCHJD - TEXT_ONLY - DIFFUSION_ONLY <= set(ROWS)


def test_the_runs_compared_are_not_trivial(alone: dict[str, Outcome]) -> None:
    """Weights moved in every one of them, states that can move did, and the trust region shrank and restored."""
    start = [p.detach() for p in network().parameters()]
    stateful = set()
    for name, outcome in alone.items():
        assert not all(a.equal(b) for a, b in zip(outcome["weights"], start, strict=True)), name
        assert outcome["weights"][1].equal(start[1]), "the frozen tensor stays"
        if outcome["state"] != outcome["fresh"]:
            stateful.add(name)
    assert stateful >= {"eupmu", "pdu", "scrub", "ofmu", "eupmu same_batch", "eupmu probe", "eupmu_compat ascent"}
    for name in ("eupmu", "eupmu same_batch", "eupmu probe", "pdu"):
        assert alone[name]["state"]["multiplier"] > 0.01, name
    notes = {note for name in TRUSTED for note in alone[f"{name} trusted"]["notes"]}
    assert "restoration" in notes
    radii = [alone[f"{name} trusted"]["region"]["radius"] for name in TRUSTED]
    assert len(set(radii)) > 1


def test_settings_of_ddp_and_accelerate(ranks: list[dict[str, Any]], alone: dict[str, Outcome]) -> None:
    found = ranks[0]["special"]
    for name, same in SPECIAL.items():
        assert_same(found[name], alone[same], name)
    norm = nn.BatchNorm1d(7).double().eval()
    model = network(norm).eval()
    scrub = row("scrub", network(norm).eval())
    assert_same(found["buffers"], run(model, scrub, sgd(model), data(1, 0, 1)), "buffers")
    assert len(found) == len(SPECIAL) + 3 + 2 * len(REPAIRED)


def test_a_contract_is_kept_alike_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    expected = promised(network(), data(1, 0, 1), lambda model: model)
    assert any(back for _, _, back in expected["path"]) and any(kept for _, kept, _ in expected["path"])
    for kind in ("contract", "contract, sharded"):
        for rank in ranks:
            found = rank["special"][kind]
            assert_same(found, expected, kind)
            assert found["path"] == expected["path"] and found["left"] == pytest.approx(expected["left"], rel=1e-9)


@pytest.mark.parametrize("name", REPAIRED)
def test_a_repair_is_the_same_on_every_rank(name: str, ranks: list[dict[str, Any]]) -> None:
    expected = repaired(network(), data(1, 0, 1, 21), lambda model: model, name)
    assert expected["notes"] == ["push", "push", "repair", "repair", "lost", "lost", "repair"]
    assert expected["state"]["lost"] == 1 and expected["region"]["lowest"] > 0
    for kind in (f"repair {name}", f"repair {name}, sharded"):
        for rank in ranks:
            assert_same(rank["special"][kind], expected, kind)


def test_what_would_be_wrong_on_two_ranks_is_refused(ranks: list[dict[str, Any]]) -> None:
    refused = ranks[0]["refused"]
    assert "Exact second derivatives do not shard; use curvature='finite'." in refused["exact, sharded"]
    assert "2.weight (1 such tensors) has other values on rank 1 than on rank 0" in refused["other weights"]
    assert refused == ranks[1]["refused"] and len(refused) == 2


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
@pytest.mark.parametrize("memory", ["lean", "least"])
def test_streamed_gradients_are_those_of_one_process(memory: str, kind: str, ranks: list[dict[str, Any]]) -> None:
    kept, count = streamed(lambda model: model, lambda: data(1, 0, 1), "fast"), 0
    for rank in ranks:
        for name, found in rank["streamed"][memory, kind].items():
            assert_same(found, kept[name], f"{name}, {memory} under {kind}")
            count += 1
    assert count == WORLD * (len(STREAMED) - (memory == "least"))
