from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unweave.diagnosis import cosine, diagnose, kappa, log_odds, validity
from unweave.errors import ConfigurationError
from unweave.tasks import Vision

CLOCK = ("seconds_per_step", "peak_memory_bytes", "run", "retrain", "seconds")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 4))


def data(n: int, seed: int) -> TensorDataset:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    return TensorDataset(x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long())


def test_it_is_the_gradients_of_the_two_losses() -> None:
    """One pair of the whole sets, in evaluation mode: the numbers of plain autograd."""
    model, forget, retain = network().eval(), data(40, 1), data(90, 2)
    found = diagnose(model, forget, retain, Vision(), batches=1, forget_batch=40, retain_batch=90)
    losses = [nn.functional.cross_entropy(model(x), y) for x, y in (forget.tensors, retain.tensors)]
    g_f, g_r = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]).double()
        for loss in losses
    )
    assert (found.forget_loss, found.retain_loss) == pytest.approx([x.item() for x in losses], rel=1e-5)
    assert found.kappa == pytest.approx(float(g_f @ g_r), rel=1e-5)
    assert found.cosine == pytest.approx(-float(g_f @ g_r / (g_f.norm() * g_r.norm())), rel=1e-5)
    assert found.cosines == (found.cosine,)
    assert found.kappa1 == pytest.approx(-0.1 * float(g_f.norm() * g_r.norm()), rel=1e-5)
    assert found.kappa < found.kappa2
    assert [b.name for b in found.blocks] == ["0", "1", "4"]
    assert sum(b.part for b in found.blocks) == pytest.approx(1)
    assert sum(b.kappa for b in found.blocks) == pytest.approx(found.kappa)


def test_hardness_and_price_are_the_gradients_of_the_log_odds() -> None:
    """Of both whole sets; examples and groups average to them."""
    model, forget, retain = network().eval(), data(40, 1), data(90, 2)
    found = diagnose(model, forget, retain, Vision(), batches=1, examples=90)
    losses = [log_odds(Vision())(model, d.tensors) for d in (forget, retain)]
    g_f, g_r = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss.mean(), list(model.parameters()))]).double()
        for loss in losses
    )
    hardness, price = float(g_f @ g_r / (g_f.norm() * g_r.norm())), float(g_f @ g_r / g_f.square().sum())
    assert (found.hardness, found.price) == pytest.approx((hardness, price), rel=1e-3)
    assert found.front[-1].price == pytest.approx(price, rel=1e-4)
    assert found.free_share == pytest.approx((1 - hardness**2) ** 0.5, rel=1e-3)
    assert sum(e.value for e in found.forget) / 40 == pytest.approx(hardness, rel=1e-3)
    assert sum(e.value for e in found.payers) / 90 == pytest.approx(price, rel=1e-3)
    assert sum(g.examples * g.mean for g in found.groups) / 40 == pytest.approx(hardness, rel=1e-3)
    assert sorted(e.row for e in found.forget) == list(range(40)) and len(found.payers) == 90
    for examples, values in zip((found.forget, found.payers), losses, strict=True):
        assert [e.value for e in examples] == sorted((e.value for e in examples), reverse=True)
        assert all(e.loss == pytest.approx(values[e.row].item(), abs=1e-5) for e in examples)
    assert all(e.group == int(forget.tensors[1][e.row]) for e in found.forget)
    assert found.groups[0].mean == max(g.mean for g in found.groups) and len(found.groups) == 4
    assert found.verdict.level == "hard" and found.suggestion.method == "unilateral_surgery"


def test_groups_are_the_users_own() -> None:
    names = ["a" if i % 3 else "b" for i in range(40)]
    found = diagnose(network(), data(40, 1), data(90, 2), Vision(), batches=1, groups=names)
    own = [e.value for e in found.forget if names[e.row] == "b"]
    group = next(g for g in found.groups if g.name == "b")
    assert group.examples == len(own) == 14 and group.mean == pytest.approx(sum(own) / 14)
    assert group.error == pytest.approx(float(torch.tensor(own).std()) / 14**0.5, rel=1e-5)
    with pytest.raises(ConfigurationError, match="2 names for 40 examples"):
        diagnose(network(), data(40, 1), data(90, 2), Vision(), groups=["a", "b"])


def test_the_range_is_where_first_order_is_off_by_the_tolerance() -> None:
    """Of a quadratic, where second order is all there is: at the radius the error is exactly 25 %."""
    assert validity(-2.0, 0.5) == pytest.approx(2.0) and validity(1.0, 0.0) is None
    for slope, curvature in ((3.0, 0.7), (-0.2, 5.0)):
        r = validity(slope, curvature)
        assert r is not None
        assert abs(curvature * r**2 / 2) == pytest.approx(0.25 * abs(slope * r))
    model, forget, retain = network().eval().double(), data(40, 1), data(90, 2)
    forget, retain = (TensorDataset(d.tensors[0].double(), d.tensors[1]) for d in (forget, retain))
    found = diagnose(model, forget, retain, Vision(), batches=1)
    assert found.ranges is not None and found.ranges[0].radius is not None
    assert [p.rise for p in found.forecast] == [0.5, 1, 2, 4]
    for point in found.forecast:
        assert point.length is not None
        assert point.holds == all(r.radius is None or point.length <= r.radius for r in found.ranges)
    odds = log_odds(Vision())
    g = torch.autograd.grad(odds(model, forget.tensors).mean(), list(model.parameters()))
    size, length = (sum(x.square().sum().item() for x in v) ** 0.5 for v in (list(model.parameters()), g))
    before, t = odds(model, forget.tensors).mean().item(), 0.05 * found.ranges[0].radius
    with torch.no_grad():
        for p, d in zip(model.parameters(), g, strict=True):
            p += t * size / length * d
    after = odds(model, forget.tensors).mean().item()
    assert after - before == pytest.approx(found.ranges[0].slope * t, rel=0.05)


def test_the_retain_sample_is_a_sample_and_the_cost_is_told() -> None:
    found = diagnose(network(), data(40, 1), data(900, 2), Vision(), batches=2, examples=100, steps=7)
    assert len(found.payers) == 100 and max(e.row for e in found.payers) > 100
    assert found.forwards == 8 * 40 + 6 * 100 + 4 * 2 * (40 + 225)
    assert found.epochs == pytest.approx(found.forwards / (3 * 940))
    assert found.run.seconds == pytest.approx(7 * found.seconds_per_step)
    assert found.retrain.seconds is None and "say how many epochs" in found.retrain.basis
    assert found.seconds > 0
    for settings, word in (({"epochs": 5}, "estimated"), ({"retrain_seconds": 9.0}, "measured")):
        cost = diagnose(network(), data(40, 1), data(90, 2), Vision(), batches=1, **settings).retrain
        assert cost.seconds is not None and cost.seconds > 0 and word in cost.basis


def test_rows_can_be_those_of_the_training_set() -> None:
    found = diagnose(network(), data(40, 1), data(90, 2), Vision(), batches=1)
    other = found.numbered([1000 + i for i in range(40)], range(90))
    assert [e.row - 1000 for e in other.forget] == [e.row for e in found.forget]
    short = other.as_dict(most=3)
    assert [len(short[side]) for side in ("forget", "payers")] == [3, 3] and short["forget"][0]["row"] >= 1000
    assert len(found.as_dict()["forget"]) == 40


def test_micro_batches_give_the_same_numbers() -> None:
    model, sets, sizes = (
        network().eval(),
        (data(40, 1), data(90, 2)),
        {"forget_batch": 40, "retain_batch": 90},
    )
    one, many = (diagnose(model, *sets, Vision(), batches=1, micro=micro, **sizes) for micro in (1, 7))
    for field in ("forget_loss", "retain_loss", "cosine", "kappa", "quota"):
        assert getattr(many, field) == pytest.approx(getattr(one, field), rel=1e-5)


def test_the_predicted_front_is_what_a_small_step_does() -> None:
    model, forget, retain = network().eval().double(), data(40, 1), data(90, 2)
    forget, retain = (TensorDataset(d.tensors[0].double(), d.tensors[1]) for d in (forget, retain))
    found = diagnose(model, forget, retain, Vision(), batches=1, forget_batch=40, retain_batch=90)

    def losses() -> list[torch.Tensor]:
        return [log_odds(Vision())(model, d.tensors).mean() for d in (forget, retain)]

    before = losses()
    up = torch.autograd.grad(before[0], list(model.parameters()))
    with torch.no_grad():
        for p, g in zip(model.parameters(), up, strict=True):
            p += 1e-5 * g
    after = losses()
    assert ((after[1] - before[1]) / (after[0] - before[0])).item() == pytest.approx(found.front[-1].price, rel=1e-3)


@pytest.mark.parametrize("blocks", ["tensor", "layer", "model"])
def test_nothing_is_changed(blocks: str) -> None:
    model = network().train()
    model[1].eval()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    model[0].bias.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [p.grad for p in model.parameters()]
    values = [g.clone() for g in grads if g is not None]
    flags, rng = [(m.training) for m in model.modules()], torch.get_rng_state()
    diagnose(model, data(30, 1), data(60, 2), Vision(), batches=3, blocks=blocks, forget_batch=16, retain_batch=32)
    assert len(state) == 9
    for name, value in model.state_dict().items():
        assert value.equal(state[name]), name
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert all(g.equal(v) for g, v in zip(grads, values, strict=True))
    assert [m.training for m in model.modules()] == flags and torch.get_rng_state().equal(rng)
    assert not model[0].bias.requires_grad


def test_blocks_name_what_they_hold() -> None:
    model = network()
    expected = {
        "tensor": [name for name, _ in model.named_parameters()],
        "layer": ["0", "1", "4"],
        "model": ["model"],
    }
    for blocks, names in expected.items():
        found = diagnose(model, data(30, 1), data(60, 2), Vision(), batches=1, blocks=blocks)
        assert [b.name for b in found.blocks] == names
    assert len(expected["tensor"]) == 6


def test_the_same_seed_gives_the_same_quote_and_loaders_work() -> None:
    def quote(seed: int) -> dict[str, object]:
        found = diagnose(network(), data(70, 1), data(90, 2), Vision(), forget_batch=16, retain_batch=32, seed=seed)
        return {k: v for k, v in found.as_dict().items() if k not in CLOCK}

    assert quote(3) == quote(3)
    assert quote(3) != quote(4)
    loaders = [DataLoader(data(n, s), batch_size=16, shuffle=True) for n, s in ((70, 1), (90, 2))]
    assert len(diagnose(network(), *loaders, Vision()).cosines) == 4


def test_a_parameter_that_is_not_used_is_a_block_without_a_cosine() -> None:
    model = network()
    model.spare = nn.Linear(2, 2)
    model.forward = lambda x: nn.Sequential.forward(model[:5], x)  # type: ignore[method-assign]
    found = diagnose(model, data(30, 1), data(60, 2), Vision(), batches=2)
    spare = next(b for b in found.blocks if b.name == "spare")
    assert (spare.cosine, spare.kappa, spare.part) == (None, 0, 0)
    assert any("spare" in line for line in found.lines())


def test_it_reads_as_text_and_as_json() -> None:
    found = diagnose(network(), data(30, 1), data(60, 2), Vision(), batches=2)
    fields = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert fields["verdict"]["level"] == found.verdict.level and len(fields["front"]) == 5
    assert (len(fields["forget"]), len(fields["payers"]), len(fields["ranges"])) == (30, 60, 2)
    assert fields["seconds_per_step"] > 0 and fields["peak_memory_bytes"] > 2**20
    text = "\n".join(found.lines())
    for part in (found.verdict.reason, "feasible quota", "100%", "peak memory", "hardest of 3 blocks", "this quote"):
        assert part in text


def test_the_quote_says_where_retraining_is_no_dearer() -> None:
    found = diagnose(network(), data(30, 1), data(60, 2), Vision(), batches=2)
    for seconds, told in ((3.0, True), (5.0, True), (5.1, False), (None, False)):
        costs = {"run": replace(found.run, seconds=5.0), "retrain": replace(found.retrain, seconds=seconds)}
        assert any(line.startswith("cheaper") for line in replace(found, **costs).lines()) == told


def test_a_request_in_conflict_is_harder_than_one_without() -> None:
    """Forgetting what the retain set says as well conflicts; forgetting wrong labels does not."""
    model, retain = network(), data(400, 2)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(retain.tensors[0]), retain.tensors[1]).backward()
        optimizer.step()
    same = data(64, 3)
    wrong = TensorDataset(same.tensors[0], (same.tensors[1] + 1) % 4)
    conflict, harmless = (diagnose(model.eval(), f, retain, Vision(), batches=2) for f in (same, wrong))
    assert conflict.cosine is not None and harmless.cosine is not None
    assert conflict.cosine < 0 < harmless.cosine
    assert (conflict.verdict.level, harmless.verdict.level) == ("hard", "easy")
    assert conflict.front[0].price < conflict.front[-1].price and conflict.free_share < 1 == harmless.free_share


def test_bad_input_gets_one_clear_message() -> None:
    model, forget, retain = network(), data(30, 1), data(60, 2)
    for settings in ({"batches": 0}, {"examples": 0}, {"steps": 0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(ConfigurationError, match="must be at least 1 and share in"):
            diagnose(model, forget, retain, Vision(), **settings)
    with pytest.raises(ConfigurationError, match="forget"):
        diagnose(model, data(0, 1), retain, Vision())
    retain.tensors[0][5] = torch.nan
    with pytest.raises(ConfigurationError, match="not finite"):
        diagnose(model, forget, retain, Vision())
    with pytest.raises(ConfigurationError, match="frozen"):
        diagnose(network().requires_grad_(False), forget, retain, Vision())


def test_hardness_functions_take_what_steps_record() -> None:
    g = torch.tensor([[[4.0, -2.0], [-2.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    assert kappa(g).tolist() == [2, 0] and cosine(g).tolist() == [-1, 0]
