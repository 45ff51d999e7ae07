"""Settings that `unweave tune` finds on one request, against the recipe's own on requests that it never saw.

    python benchmarks/tuning.py [--only class random poison tofu] [--trials 24] [--proxies 3] [--seeds 1 2 3 4 5 6]

One search for each kind, on seed 0: of the digits a class, a random tenth and planted wrong labels (once more under a
recipe that names a baseline, graddiff, whose weights and step are searched), and of tiny TOFU
(`--source`: folder of TOFU's jsonl files) two of twelve authors, whose small language model is made here. The tuned
setting and the recipe's own then run on other classes, rows and authors, with originals of other seeds, each against
a model that is retrained without them. What is there is skipped; a line of the file is one request.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from unweave.execution import one_thread
from unweave.modalities import job, original, read
from unweave.modalities.texts.training import TextTraining, as_tokens, trained_model, trained_tokenizer
from unweave.recipe.recipe import Recipe
from unweave.run.session import Session
from unweave.store import cache_folder
from unweave.tuning import Asked, tune
from unweave.tuning.world import distance
from unweave.watch import watching

RESULTS = Path(__file__).parent / "results" / "tuning.jsonl"
FIRST = 0  # the seed that settings are chosen on
DIGITS = """\
data: {source: digits}
contract: {keep: [{metric: accuracy, absolute: 0.06}]}
evaluation: {retrained: 1, quote: true}
"""
KINDS = {
    "class": lambda seed: f"{{class: {(3 + seed) % 10}}}",
    "random": lambda seed: f"{{random: 0.1, seed: {seed}}}",
    "poison": lambda seed: f"{{poison: 0.1, seed: {seed}}}",
    "graddiff": lambda seed: f"{{poison: 0.1, seed: {seed}}}",
    "tofu": lambda seed: f"{{ids: forget-{seed}.txt}}",
}
SAID = {"graddiff": "method: {name: graddiff}\n"}
AMONG = {"tofu": ("hamu_q", "eupmu", "graddiff", "npo")}
"""Of the others a step takes longer, or they are about classes."""
TOFU = """\
data: {source: texts, path: authors.jsonl, holdout: unseen.jsonl, format: "{question}\\n"}
model: {base: base}
training: {epochs: 14, batch: 16, lr: 3.0e-3}
contract: {keep: [], forget: [unseen]}
run: {steps: 40, forget_batch: 20, retain_batch: 40}
evaluation: {quote: false, generate: 16, at_most: 40, relearning: none}
"""
AUTHOR, AUTHORS, GONE = 20, 12, 2  # rows of each, authors, and how many of them a request names


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(KINDS), default=["class", "random", "poison", "graddiff"])
    parser.add_argument("--source", type=Path, help="folder of TOFU's jsonl files, for tofu")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--proxies", type=int, default=3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, default=cache_folder("tuning"), help="of the searches")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    assert FIRST not in chosen.seeds, "settings are chosen on that seed"
    torch.set_num_threads(1)
    for kind in chosen.only:
        place = chosen.folder / kind
        place.mkdir(parents=True, exist_ok=True)
        if kind == "tofu":
            authors(place, chosen.source, [FIRST, *chosen.seeds])
        text = (TOFU if kind == "tofu" else DIGITS) + f"forget: {KINDS[kind](FIRST)}\n" + SAID.get(kind, "")
        (place / "recipe.yaml").write_text(text)
        begin, recipe = time.perf_counter(), read(place / "recipe.yaml")
        with watching() as watch:
            asked = Asked(chosen.trials, AMONG.get(kind, ()), chosen.proxies)
            found = tune(recipe, place / "search", asked, watch=watch, promise=print)
        tuned, spent = read(place / "search" / "tuned.yaml"), time.perf_counter() - begin
        for seed in chosen.seeds:
            if (kind, seed) not in {(row["kind"], row["seed"]) for row in rows(chosen.results)}:
                told = {"kind": kind, "seed": seed, "trials": found["tried"], "proxies": chosen.proxies}
                told |= {"setting": setting(tuned), "gain": found["gain"], "search_seconds": spent}
                with one_thread():
                    write(chosen.results, told | unseen(place, kind, seed, recipe, tuned))
    tell(chosen.results)


def setting(recipe: Recipe) -> dict[str, Any]:
    return {part: {"name": s.name, **s.arguments} for part, s in (("method", recipe.method), ("step", recipe.step))}


def unseen(place: Path, kind: str, seed: int, recipe: Recipe, tuned: Recipe) -> dict[str, Any]:
    """The distance of four models from a retrained one: original, default, tuned, and retrained again."""
    overrides = [f"forget={KINDS[kind](seed)}", f"run.seed={seed}", f"training.seed={10 * seed}"]
    other = read(place / "recipe.yaml", overrides)
    found = job(other)
    first, again = found.reference(1, quiet), found.reference(2, quiet)
    assert first is not None and again is not None
    sheet = found.score(first, "retrained", None, quiet).scores

    def far(model: torch.nn.Module) -> tuple[float | None, dict[str, Any]]:
        return distance(found, found.score(model.eval(), "", None, quiet).scores, sheet)

    told: dict[str, Any] = {"original": far(original(other, found))[0], "again": far(again)[0]}
    for name, given in (("default", recipe), ("tuned", tuned)):
        changes = {"method": given.method, "step": given.step, "contract": given.contract}
        session = Session.start(other.model_copy(update=changes), found, original(other, found))
        with session.parts.ready():
            result = session.parts.run(other.run.steps, repair=session.repair)
        value, gaps = far(session.model)
        assert result.contract is not None
        told[name] = {"distance": value, "gaps": gaps, "contract": result.contract.state}
        told[name] |= {"steps": result.progress.made, "seconds": result.seconds, "ended": result.reason}
    return told


def quiet(phase: str, done: int, total: int) -> None:
    pass


def authors(place: Path, source: Path | None, seeds: list[int]) -> None:
    """Twelve authors of TOFU, with the author as the id of each text; unseen ones; who is to be forgotten; a base."""
    assert source is not None, "--source is the folder of TOFU's jsonl files"
    full = [json.loads(line) for line in (source / "full.jsonl").read_text().splitlines()]
    said = [{key: row[key] for key in ("question", "answer")} for row in full]
    every = [{"id": f"author-{n // AUTHOR}", **row} for n, row in enumerate(said)]
    learned, others = every[: AUTHORS * AUTHOR], every[20 * AUTHOR : 40 * AUTHOR]
    unseen = every[-4 * AUTHOR :]
    for name, part in (("authors", learned), ("unseen", unseen)):
        (place / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    for seed in seeds:
        gone = torch.randperm(AUTHORS, generator=torch.Generator().manual_seed(seed))[:GONE].tolist()
        (place / f"forget-{seed}.txt").write_text("\n".join(f"author-{n}" for n in gone))
    if (place / "base").is_dir():
        return
    how = TextTraining(epochs=16, batch=16, lr=5e-3, hidden=64, layers=2, vocabulary=1500, longest=256)
    tokenizer = trained_tokenizer(others, how)
    model = trained_model(as_tokens(others, tokenizer), tokenizer, replace(how), 0)
    tokenizer.save_pretrained(place / "base")
    model.save_pretrained(place / "base")


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def write(file: Path, row: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        handle.write(json.dumps(row) + "\n")


def tell(file: Path) -> None:
    """The table of the page."""
    print("| request | original | retrained again | as it was | tuned | nearer, 95 % interval | tuned to |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for line in table(rows(file)):
        print(f"| {' | '.join(line)} |")


def table(found: list[dict[str, Any]]) -> Iterator[list[str]]:
    from scipy.stats import t

    for kind in dict.fromkeys(row["kind"] for row in found):
        own = [row for row in found if row["kind"] == kind]
        means = [fmean(row[name] for row in own) for name in ("original", "again")]
        both = [[row[name]["distance"] for row in own] for name in ("default", "tuned")]
        d, n = [a - b for a, b in zip(*both, strict=True)], len(own)
        half = float(t.ppf(0.975, n - 1)) * stdev(d) / math.sqrt(n) if n > 1 else math.nan
        ends = f"[{fmean(d) - half:.2f}, {fmean(d) + half:.2f}]" if n > 1 else "no interval of one"
        gain = f"{fmean(d):.2f} {ends}"
        cells = [f"{each:.2f}" for each in (*means, *map(fmean, both))]
        method, step = (own[0]["setting"][part] for part in ("method", "step"))
        yield [kind, *cells, gain, f"{json.dumps(method)}, {json.dumps(step)}"]


if __name__ == "__main__":
    main()
