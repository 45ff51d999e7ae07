"""`unweave audit plan | judge`: coins before training, an exact test after unlearning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from unweave.audit.canaries import draw, epsilon_of, judge, load, read_ids, read_scores
from unweave.evaluation.figures import interval, value
from unweave.report.numbers import null_band, p_value

_REFUTED = 3


def plan(
    canaries: Path,
    base: Path | None,
    folder: Path,
    *,
    seed: int | None,
    guesses: int | None,
    level: float,
    delta: float,
    form: Literal["csv", "json"],
    few: bool,
    as_json: bool,
) -> None:
    """Draws the coins, writes them and the lists, and says what the audit will be able to show."""
    rest = read_ids(base) if base else []
    made = draw(read_ids(canaries), base=rest, seed=seed, guesses=guesses, level=level, delta=delta, few=few)
    made.save(folder, form)
    m = len(made.canaries)
    ceiling = epsilon_of(made.guesses, made.guesses, m, level / 2, delta)
    if as_json:
        known = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        known |= {"directory": str(folder), "detectable_auc": made.detectable, "ceiling": ceiling}
        print(json.dumps(known, indent=2))
        return
    say = Console(highlight=False, soft_wrap=True).print
    for line in (
        f"{m} canaries, {len(made.forget)} of them drawn for training (seed {made.seed})",
        f"1. train on   {folder / f'train.{form}'}  ({len(made.train)} records)",
        f"2. unlearn    {folder / f'forget.{form}'}  ({len(made.forget)} records)",
        f"3. score every canary by any attack that has not seen {folder / 'coins.csv'}, into a file id,score",
        f"4. unweave audit judge {folder} SCORES.csv",
    ):
        say(line, markup=False)
    say(f"It finds an AUC of {made.detectable:.2f} in 80 % of cases, and can show an epsilon of {ceiling:.2f} at most.")


def verdict(folder: Path, scores: Path, *, lower: bool, few: bool, as_json: bool) -> int:
    """Prints what the scores say of the coins; 0 if they say nothing, 3 if exact unlearning is refuted."""
    found = judge(load(folder), read_scores(scores), lower=lower, few=few)
    code = _REFUTED if found.refuted else 0
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return code
    table = Table(box=None, pad_edge=False)
    columns = {"value": value, "95 % interval": interval, "an exact method": null_band, "p": p_value}
    for column in ("", *columns):
        table.add_column(column, overflow="fold")
    for name, each in (("AUC", found.auc), ("hits", found.hits)):
        told = each.as_dict()
        table.add_row(name, *(read(told) for read in columns.values()))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    least, share = found.epsilon.value, 100 * (1 - found.plan.level)
    console.print(f"epsilon: at least {least:.2f} ({share:g} % confidence); at most {found.ceiling:.2f} could be shown")
    console.print(found.text, style="bold red" if found.refuted else "", markup=False)
    return code
