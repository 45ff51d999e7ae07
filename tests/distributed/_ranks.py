"""The same runs on one process and on two: as they are, under DDP, under FSDP2 and through accelerate."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

from tests._gloo import group
from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, TORCHJD
from unweave.contract import Contract, Forget, Keep, Keeper, Sets
from unweave.data.pairs import Pairs
from unweave.errors import UnsupportedError
from unweave.loop import unlearn
from unweave.losses import Ascent, Until
from unweave.methods import METHODS, Method
from unweave.objectives import Loss
from unweave.repair import Repair
from unweave.rules import EUPMU, HAMU, OFMU, Fixed, Rule, UnilateralSurgery
from unweave.streaming import Memory
from unweave.tasks import Vision
from unweave.trust import TrustRegion

WORLD, STEPS = 2, 3
ROWS = sorted(set(METHODS) - TEXT_ONLY - DIFFUSION_ONLY - (TORCHJD if find_spec("torchjd") is None else set()))

nll = Vision().nll
Step = Callable[[nn.Module], torch.optim.Optimizer | TrustRegion]
Outcome = dict[str, Any]


def network(*extra: nn.Module) -> nn.Module:
    """Odd sizes, so that the shards are uneven; one tensor is frozen."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), *extra, nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    model[0].bias.requires_grad_(False)
    return model


def data(world: int, rank: int, micro: int, first: int = 0) -> Pairs:
    """Batches of 7 and 11: two ranks have 4 and 3, 6 and 5 of them, in ragged micro-batches.

    From row `first` on; from 21 the forget examples are retain examples too, and forgetting them costs.
    """
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(54, 5, dtype=torch.float64, generator=generator), torch.randint(3, (54,), generator=generator)
    forget, retain = TensorDataset(x[first : first + 21], y[first : first + 21]), TensorDataset(x[21:], y[21:])
    return Pairs(forget, retain, forget_batch=7, retain_batch=11, world=world, rank=rank, micro=micro)


def row(name: str, original: nn.Module) -> Method:
    demand = {"dual_lr": 5.0, "tolerance": -3.0}  # so that the multiplier moves in these few steps
    own = {"eupmu": demand, "pdu": {"epsilon": 0.5}, "ofmu": {"inner_steps": 1}}
    return METHODS[name](Vision(), original, **own.get(name, {}))


def ours(rule: Rule) -> Method:
    return Method(Ascent(nll), nll, rule, "")


def ended(loss: Loss, level: float) -> Method:
    """A forget loss with an end for some of the examples, and a quota that follows."""
    return Method(Until(loss, Vision(), level), nll, HAMU("forget", ratio=0.5, need=True), "")


def elsewhere(model: nn.Module, batch: Any) -> Tensor:
    """Shows the model other tensors than the batch: where examples end needs a look of its own."""
    return -nll(model, (2 * batch[0], batch[1]))


# Beside the catalogue: other blocks, other estimators, and rules that look at curvature.
VARIANTS: dict[str, Callable[[], Method]] = {
    "hamu_q by tensor": lambda: ours(HAMU("forget", ratio=0.5, blocks="tensor")),
    "hamu_u jointly by layer": lambda: ours(HAMU("retain", ratio=0.5, blocks="layer", split="joint")),
    "surgery by tensor": lambda: ours(UnilateralSurgery(0.1, blocks="tensor")),
    "eupmu same_batch": lambda: ours(EUPMU(-3.0, 5.0, estimator="same_batch")),
    "eupmu probe": lambda: ours(EUPMU(-3.0, 5.0, estimator="probe")),
    "eupmu_compat ascent": lambda: ours(EUPMU.compat()),
    "eupmu_compat log": lambda: Method(nll, nll, EUPMU.compat(log="both"), ""),
    "ended": lambda: ended(Ascent(nll), 1.1),
    "ended, another look": lambda: ended(elsewhere, 1.1),
    "ended all": lambda: ended(Ascent(nll), 1e-3),
    "ofmu finite": lambda: ours(OFMU(inner_steps=1, curvature="finite")),
}
EXACT = {"ofmu exact": lambda: ours(OFMU(inner_steps=1, curvature="exact"))}
REPAIRED: dict[str, Callable[[], Rule]] = {  # of one and of two gradients, both at the retain side's expense
    "ascent": lambda: Fixed(1.0, 0.0),
    "hamu_q": lambda: HAMU("forget", ratio=0.99),
}
TRUSTED = ["hamu_q", "eupmu", "ofmu", "graddiff", "scrub"]


def cases(original: nn.Module, sharded: bool) -> dict[str, tuple[Callable[[], Method], Step]]:
    """Every run: its method, made when its turn comes, and its step."""
    papers = {name: (lambda name=name: row(name, original)) for name in ROWS} | VARIANTS | ({} if sharded else EXACT)
    return {name: (make, sgd) for name, make in papers.items()} | {
        f"{name} trusted": (papers[name], lambda model: TrustRegion(start=0.05, budget=0.002)) for name in TRUSTED
    }


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.05)


def outcomes(
    wrap: Callable[[nn.Module], nn.Module], pairs: Callable[[], Pairs], sharded: bool = False
) -> dict[str, Outcome]:
    """All cases from the same start."""
    found, start = {}, network()
    model = wrap(copy.deepcopy(start))
    moving = list(model.parameters())
    first = [p.detach().clone() for p in moving]
    probe = [(torch.ones(2, 5).double(), torch.tensor([0, 1])), (torch.zeros(1, 5).double(), torch.tensor([2]))]
    for name, (make, step) in cases(start, sharded).items():
        with torch.no_grad():
            for p, value in zip(moving, first, strict=True):
                p.copy_(value)
        found[name] = run(model, make(), step(model), pairs(), probe)
    return found


STREAMED = {  # a rule for each way of asking, a step for each way of going
    "hamu_q": (lambda: HAMU("forget", ratio=0.5, blocks="model"), lambda model: TrustRegion(start=0.05, budget=0.002)),
    "surgery": (lambda: UnilateralSurgery(0.1), lambda model: sgd(model)),
    "eupmu": (lambda: EUPMU(-3.0, 5.0), lambda model: torch.optim.Adam(model.parameters(), 0.01)),
    "by tensor": (lambda: HAMU("retain", ratio=0.5, blocks="tensor"), lambda model: sgd(model)),
}


def streamed(wrap: Callable[[nn.Module], nn.Module], pairs: Callable[[], Pairs], memory: Memory) -> dict[str, Outcome]:
    """The same start for every one of them."""
    found, names = {}, [name for name in STREAMED if memory != "least" or name != "by tensor"]
    for name in names:
        (rule, step), model = STREAMED[name], wrap(network())
        found[name] = run(model, ours(rule()), step(model), pairs(), memory=memory)
    return found


def run(model: nn.Module, method: Method, step: Any, pairs: Pairs, probe: Any = (), **options: Any) -> Outcome:
    """A few steps, and everything that came out of them."""
    fresh = method.rule.state_dict()
    result = unlearn(
        model, method, pairs, step, steps=STEPS * (3 if isinstance(step, TrustRegion) else 1), probe=probe, **options
    )
    return {
        "weights": [whole(p) for p in model.parameters()],
        "losses": torch.stack([r.step.losses for r in result.history]),
        "notes": [r.note.split(":")[0] for r in result.history],
        "state": method.rule.state_dict(),
        "fresh": fresh,
        "region": step.state_dict() if isinstance(step, TrustRegion) else {},
    }


def promised(model: nn.Module, pairs: Pairs, wrap: Callable[[nn.Module], nn.Module]) -> Outcome:
    """Plain ascent under a contract, which it breaks: looks, rollbacks and the end are decided on every rank."""
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(40, 5, dtype=torch.float64, generator=generator), torch.randint(3, (40,), generator=generator)
    contract = Contract([Keep("loss", absolute=0.02, clip=0.08)], [Forget("loss", at_least=2.0)], every=2)
    keeper = Keeper(contract, Vision(), Sets(TensorDataset(x[:20], y[:20]), TensorDataset(x, y)), per_step=18)
    wrapped = wrap(model)
    step = TrustRegion(start=0.05, budget=0.5)
    found = run(wrapped, Method(Ascent(nll), nll, Fixed(1.0, 0.0), ""), step, pairs, contract=keeper)
    return found | {"path": [(k.step, k.kept, k.rolled_back) for k in keeper.path], "left": keeper.left}


def repaired(model: nn.Module, pairs: Pairs, wrap: Callable[[nn.Module], nn.Module], name: str) -> Outcome:
    """Pushed until a criterion says so, which then takes itself back: both phases, and what is lost is won back."""
    met = [False, True, True, False, False, True, True]
    wrapped = wrap(model)
    repair = Repair(met=lambda record: "enough" if met[record.number - 1] else None, every=1, sample=pairs.sample())
    step = TrustRegion(start=0.05, budget=0.5)
    result = unlearn(wrapped, ours(REPAIRED[name]()), pairs, step, steps=len(met), repair=repair)
    levels = repair.state_dict()
    return {
        "weights": [whole(p) for p in wrapped.parameters()],
        "losses": torch.stack([r.step.losses for r in result.history]),
        "notes": [r.phase for r in result.history],
        "state": {key: levels[key] for key in ("quota", "lost")},
        "region": {"origin": levels["_origin"], "lowest": levels["_lowest"]},
    }


def whole(parameter: Tensor) -> Tensor:
    return (parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).detach().clone()


def shard(model: nn.Module) -> nn.Module:
    """The middle layer by itself, the rest with the root, which FSDP2 leaves gathered after a pass without a graph."""
    mesh = init_device_mesh("cpu", (WORLD,))
    fully_shard(model[2], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def refusals(rank: int) -> dict[str, str]:
    """What cannot be right is refused; the messages."""
    other = network()
    with torch.no_grad():
        other[2].weight[0, 0] += rank
    tried = {
        "exact, sharded": lambda: (shard(network()), OFMU(inner_steps=1, curvature="exact")),
        "other weights": lambda: (other, HAMU()),
    }
    found = {}
    for name, make in tried.items():
        model, rule = make()
        try:
            unlearn(model, ours(rule), data(1, 0, 1), sgd(model), steps=1)
        except UnsupportedError as error:
            found[name] = str(error)
    return found


def special(rank: int) -> dict[str, Outcome]:
    """Settings of DDP that would spoil two gradients, or two forwards before one backward; and accelerate."""
    from accelerate import Accelerator

    found = {}
    half = network()
    fully_shard(half[0], mesh=init_device_mesh("cpu", (WORLD,)))
    for name, model in (("plain replicas", network()), ("half sharded", half)):
        found[name] = run(model, row("pcgrad", network()), sgd(model), data(WORLD, rank, 2))
    view = DistributedDataParallel(network(), gradient_as_bucket_view=True)
    found["bucket view"] = run(view, row("pcgrad", network()), sgd(view), data(WORLD, rank, 2))
    norm = nn.BatchNorm1d(7).double().eval()
    ddp = DistributedDataParallel(network(norm).eval())
    scrub = row("scrub", network(copy.deepcopy(norm)).eval())
    found["buffers"] = run(ddp, scrub, sgd(ddp), data(WORLD, rank, 2))
    found["contract"] = promised(network(), data(WORLD, rank, 2), DistributedDataParallel)
    found["contract, sharded"] = promised(network(), data(WORLD, rank, 2), shard)
    for name in REPAIRED:
        found[f"repair {name}"] = repaired(network(), data(WORLD, rank, 2, 21), DistributedDataParallel, name)
        found[f"repair {name}, sharded"] = repaired(network(), data(WORLD, rank, 2, 21), shard, name)
    for name in ("hamu_q", "eupmu", "ofmu"):
        accelerator, model = Accelerator(cpu=True), network()
        method = row(name, model)
        prepared, optimizer = accelerator.prepare(model, sgd(model))
        assert isinstance(prepared, DistributedDataParallel) and accelerator.num_processes == WORLD
        shares = data(accelerator.num_processes, accelerator.process_index, 2)
        found[f"accelerate {name}"] = run(prepared, method, optimizer, shares, accelerator=accelerator)
    return found


def worker(rank: int, folder: str) -> None:
    """One rank; leaves what it found in a file."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD), LOCAL_WORLD_SIZE=str(WORLD),
        MASTER_ADDR="localhost", MASTER_PORT="0", OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    torch.set_num_threads(1)
    with group(Path(folder), rank, WORLD):
        found = {
            "ddp": outcomes(DistributedDataParallel, lambda: data(WORLD, rank, 3)),
            "fsdp2": outcomes(shard, lambda: data(WORLD, rank, 2), sharded=True),
            "special": special(rank),
            "refused": refusals(rank),
            "streamed": {
                (memory, kind): streamed(wrap, lambda micro=micro: data(WORLD, rank, micro), memory)
                for memory, kind, wrap, micro in (
                    ("lean", "ddp", DistributedDataParallel, 3),
                    ("lean", "fsdp2", shard, 1),
                    ("least", "ddp", DistributedDataParallel, 1),
                    ("least", "fsdp2", shard, 3),
                )
            },
        }
        torch.save(found, Path(folder, f"rank{rank}.pt"))
