"""The randomised-inclusion audit, before training: a coin for each canary, and the list to train on.

A fair coin decides of every audit record (canary) whether it enters the training set. The model is trained on the base
set and on the canaries with heads, and then unlearns exactly those. If unlearning is exact, the model is independent of
the coins, so that nothing can predict them: the test needs no retrained model, no shadow models and no holdout, and is
exact whatever the attack and however correlated the records. Steinke, Nasr and Jagielski, NeurIPS 2023.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unweave.data.text_file import as_meant, parse_csv, to_csv
from unweave.errors import ConfigurationError
from unweave.store import atomically

FEWEST = 20
PLAN, COINS = "plan.json", "coins.csv"
Format = Literal["csv", "json"]


@dataclass(frozen=True)
class Plan:
    """What was settled before training.

    Args:
        canaries: ids of the audit records, in the order of their coins.
        included: the coins; True for a canary that is trained on, and unlearned afterwards.
        base: ids that are trained on whatever the coins say.
        seed: of the coins.
        guesses: canaries that the hits are counted on: half of them with the highest, half with the lowest scores.
        level: error probability of the test.
        delta: of (epsilon, delta).
    """

    canaries: tuple[str, ...]
    included: tuple[bool, ...]
    base: tuple[str, ...]
    seed: int
    guesses: int
    level: float
    delta: float

    @property
    def forget(self) -> tuple[str, ...]:
        """The canaries to train on and then to unlearn."""
        return tuple(name for name, heads in zip(self.canaries, self.included, strict=True) if heads)

    @property
    def train(self) -> tuple[str, ...]:
        """Everything to train on."""
        return self.base + self.forget

    @property
    def settled(self) -> dict[str, float]:
        """The numbers."""
        return {"seed": self.seed, "guesses": self.guesses, "level": self.level, "delta": self.delta}

    @property
    def detectable(self) -> float:
        """The AUC that the test finds with probability 80 %: 1/2 + 2.8 Mann-Whitney standard deviations."""
        m = len(self.canaries)
        return float(min(1.0, 0.5 + 2.8 * np.sqrt((m + 1) / (3 * m * m))))

    def save(self, folder: Path, form: Format = "csv") -> None:
        """Writes `train`, `forget`, `coins.csv` and, last, `plan.json`; a folder without that holds no plan.

        Raises:
            ConfigurationError: the folder holds something: coins are drawn once.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigurationError(
                f"{folder} is not empty: coins are drawn once, and a second draw would spoil the audit. Choose another "
                "--output, or remove the folder if nothing was trained yet."
            )
        for name, ids in (("train", self.train), ("forget", self.forget)):
            text = json.dumps(list(ids), indent=0) if form == "json" else to_csv(["id"], [[each] for each in ids])
            atomically(folder / f"{name}.{form}", text.encode())
        coins = to_csv(["id", "included"], [[n, int(c)] for n, c in zip(self.canaries, self.included, strict=True)])
        atomically(folder / COINS, coins.encode())
        atomically(folder / PLAN, (json.dumps(self.as_dict(coins), indent=2) + "\n").encode())

    def as_dict(self, coins: str) -> dict[str, Any]:
        """What `plan.json` holds; `coins` is the text of `coins.csv`, whose digest shows later edits."""
        counts = {"canaries": len(self.canaries), "included": sum(self.included), "base": len(self.base)}
        return {"audit": 1, **counts, **self.settled, "coins_sha256": hashlib.sha256(coins.encode()).hexdigest()}


def draw(
    canaries: Sequence[str],
    *,
    base: Sequence[str] = (),
    seed: int | None = None,
    guesses: int | None = None,
    level: float = 0.05,
    delta: float = 0.0,
    few: bool = False,
) -> Plan:
    """Draws the coins.

    Args:
        canaries: ids of the audit records, 20 at least without `few`. Real records, or odd ones (wrong labels) for more
            power.
        base: ids that are trained on in any case.
        seed: of the coins; None for one from the operating system. It is in the plan.
        guesses: see `Plan`; None for all canaries. Fewer show larger epsilons where an attack is sure of few.
        level: error probability of the test.
        delta: of (epsilon, delta).
        few: fewer than 20 canaries will do.

    Raises:
        ConfigurationError: too few canaries, an id twice or in the base set, or a number out of range.
    """
    faults = []
    if not few and (fault := too_few(len(canaries))):
        faults.append(fault)
    for what, ids in (("canaries", canaries), ("base records", base)):
        if twice := [name for name, n in Counter(ids).items() if n > 1]:
            faults.append(f"The {what} must be named once; found {len(twice)} repeated, such as {twice[0]!r}.")
    if both := sorted(set(canaries) & set(base)):
        faults.append(
            f"{len(both)} canaries are base records, too, such as {both[0]!r}: a coin must decide, not the base."
        )
    guesses = len(canaries) // 2 * 2 if guesses is None else guesses
    if not (2 <= guesses <= max(2, len(canaries)) and guesses % 2 == 0):
        faults.append(f"guesses must be even, from 2 to the {len(canaries)} canaries; found {guesses}.")
    if not 0 < level < 0.5:
        faults.append(f"level must be between 0 and 0.5; found {level}.")
    if not 0 <= delta < 1:
        faults.append(f"delta must be from 0 to below 1; found {delta}.")
    if faults:
        raise ConfigurationError(faults)
    seed = secrets.randbits(32) if seed is None else seed
    coins = np.random.default_rng(seed).random(len(canaries)) < 0.5
    return Plan(tuple(canaries), tuple(coins.tolist()), tuple(base), seed, guesses, level, delta)


def too_few(canaries: int) -> str | None:
    """What is wrong with so few canaries; None if there are 20."""
    if canaries >= FEWEST:
        return None
    return (
        f"An audit needs at least {FEWEST} canaries; found {canaries}. 200 or more can show something; with --few it "
        "goes on, and its intervals say little."
    )


def load(folder: Path) -> Plan:
    """The plan in a folder that `save` wrote, without its base records, which are in `train` only.

    Raises:
        ConfigurationError: no plan, one that cannot be read, or coins that are not those of the plan.
    """
    path = folder / PLAN
    if not path.is_file():
        raise ConfigurationError(f"{folder} holds no audit: expected its {PLAN}. Make one with  unweave audit plan")
    try:
        settled = json.loads(path.read_text(encoding="utf-8"))
        coins = (folder / COINS).read_bytes().decode()
        rows = [cells for _, cells in parse_csv(coins, bool)[1:]]
        canaries, included = tuple(as_meant(row[0]) for row in rows), tuple(row[-1] == "1" for row in rows)
        numbers = int(settled["seed"]), int(settled["guesses"]), float(settled["level"]), float(settled["delta"])
        digest, count = settled["coins_sha256"], settled["canaries"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigurationError(f"{folder}: the audit cannot be read ({type(error).__name__}: {error})") from error
    if hashlib.sha256(coins.encode()).hexdigest() != digest or len(canaries) != count:
        raise ConfigurationError(
            f"{folder / COINS} is not what {PLAN} was made with: it was edited or cut short. The audit is void."
        )
    return Plan(canaries, included, (), *numbers)
