"""Runs an experiment's grid, each cell an ordinary run directory, and writes down what is read of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError, InfeasibleError
from unweave.papers.claims import answers, over_seeds
from unweave.papers.experiment import METHOD, Cell, Experiment
from unweave.papers.measures import Ran, beside, measured, worded
from unweave.run import directory
from unweave.run.environment import environment, now
from unweave.run.interrupt import REASON
from unweave.run.runner import run as run_one
from unweave.store import strict, write_json
from unweave.watch import Watch, silent

FILE, RUNS = "paper.json", "runs"
Json = dict[str, Any]
_KNOTS = 60  # points of a trajectory that are kept


def run(
    experiment: Experiment,
    scale: str,
    folder: Path,
    *,
    own: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    watch: Watch = silent,
) -> Json:
    """Does what is left of an experiment: cells whose run is finished are read, the others run or go on.

    Args:
        experiment: what to run.
        scale: of which size.
        folder: new, or of the same experiment: `runs/CELL` are ordinary run directories, `paper.json` is all that the
            page says.
        own: methods of the user's, by their names in the table (`methods.added`).
        overrides: `section.key=value` for all recipes.
        watch: told about every run.

    Returns:
        What `paper.json` holds; `status` is "interrupted" if Ctrl-C ended it.

    Raises:
        ConfigurationError: faults of a recipe, or the folder is of something else.
    """
    _check(folder)
    cells = experiment.cells(scale, own)
    recipes = [cell.recipe(overrides) for cell in cells]  # all faults come before the first run
    rows: list[Json] = []
    status = "done"
    for number, (cell, recipe) in enumerate(zip(cells, recipes, strict=True)):
        watch(f"run {number + 1} of {len(cells)}: {cell.name}", 0, 1)
        place = folder / RUNS / cell.name
        try:
            summary = run_one(recipe, place, resume=True)
        except InfeasibleError as error:
            rows.append(_row(experiment, cell, None, str(error)))
            continue
        if summary["status"] == REASON:
            status = "interrupted"
            break
        rows.append(_row(experiment, cell, Ran(place), ""))
        watch(f"run {number + 1} of {len(cells)}: {cell.name}", 1, 1)
        write_json(folder / FILE, content(experiment, scale, rows, len(cells), "interrupted"))
    found = content(experiment, scale, rows, len(cells), status)
    write_json(folder / FILE, found)
    return found


def _check(folder: Path) -> None:
    directory.creatable(folder)
    inside = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    if strange := sorted(name for name in inside - {FILE, RUNS, "report.html"} if not name.startswith(".")):
        raise ConfigurationError(
            f"{folder} holds more than an experiment ({', '.join(strange[:3])}): choose another --output"
        )


def content(experiment: Experiment, scale: str, rows: Sequence[Json], runs: int, status: str) -> Json:
    """`paper.json`: the experiment, what every run says, and the answers."""
    return strict(
        {
            "status": status,
            "experiment": json.loads(experiment.model_dump_json()),
            "scale": scale,
            "words": {name: worded(name) for name in _measures(experiment)},
            "runs": runs,
            "rows": list(rows),
            "table": _table(experiment, rows),
            "answers": [answer.plain() for answer in answers(experiment.claims, rows, len(rows) == runs)],
            "seconds": sum(row["seconds"] for row in rows),
            "created": now(),
            "environment": environment(),
        }
    )


def _table(experiment: Experiment, rows: Sequence[Json]) -> list[Json]:
    """A line for every cell, over its seeds, and what the paper says of it; above them the models beside the unlearned.

    Those are the same for every method: a line for each of them and each label of the other axes.
    """
    names, cells, others = _measures(experiment), dict[str, list[Json]](), dict[str, list[Json]]()
    for row in rows:
        cells.setdefault(json.dumps(row["where"]), []).append(row)
        elsewhere = {axis: label for axis, label in row["where"].items() if axis != METHOD}
        for model, values in row["ends"].items():
            line = others.setdefault(json.dumps({**elsewhere, METHOD: model}), [])
            if row["seed"] not in {each["seed"] for each in line}:
                line.append({"seed": row["seed"], "values": values, "refused": ""})
    found = []
    for kind, lines in (("end", others), ("cell", cells)):
        for where, of in lines.items():
            at = json.loads(where)
            values = {name: asdict(over_seeds([row["values"][name] for row in of])) for name in names}
            said = {n.measure: [n.value, n.known] for n in experiment.reported if n.of == at}
            refused = next((row["refused"] for row in of if row["refused"]), "")
            found.append({"kind": kind, "where": at, "values": values, "reported": said, "refused": refused})
    return found


def _measures(experiment: Experiment) -> list[str]:
    """All that is read of a run."""
    drawn = [figure.measure for figure in experiment.figures if figure.measure is not None]
    named = [*experiment.columns, *(claim.measure for claim in experiment.claims), *drawn]
    return list(dict.fromkeys([*named, *(number.measure for number in experiment.reported)]))


def _row(experiment: Experiment, cell: Cell, ran: Ran | None, refused: str) -> Json:
    """What one run says; without one, why it was refused."""
    names = _measures(experiment)
    row: Json = {"cell": cell.name, "where": cell.where, "seed": cell.seed, "refused": refused}
    if ran is None:
        return {**row, "values": dict.fromkeys(names), "ends": {}, "path": None, "seconds": 0.0}
    path = ran.path() if any(figure.trajectories for figure in experiment.figures) else None
    if path is not None:
        every = max(1, -(-len(path[0]) // _KNOTS))
        path = [*path[0][::every], path[0][-1]], [*path[1][::every], path[1][-1]]
    values = {name: measured(ran, name) for name in names}
    others = {m: {name: beside(ran, name, m) for name in names} for m in ran.models if m != "unlearned"}
    return {**row, "values": values, "ends": others, "path": path, "seconds": float(ran.summary["seconds"])}
