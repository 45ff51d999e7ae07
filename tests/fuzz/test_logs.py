"""Logs of values per example, damaged: each is scored, or refused in words."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.fuzz._cases import cases
from unweave.commands.logs import main
from unweave.errors import UnweaveError

N = 21  # the attacks ask for 20 a side
COMPATS = (None, "open-unlearning", "tofu", "muse")
SETS = (
    "forget",
    "retain",
    "real_authors",
    "world_facts",
    "holdout",
    "forget_paraphrased",
    "forget_relearned",
    "choices",
)
NUMBERS: tuple[Any, ...] = (None, 0, 1, -1, 3, 2.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"))
ODD: tuple[Any, ...] = (
    *NUMBERS, True, 10**400, "", "x", "3", "\ud800", [], [[]], [None], [1, "a"], {}, {"a": {}}, [0] * 40,
)  # fmt: skip


def collected(rng: random.Random) -> list[Any]:
    """A log of ours: a header, and three families of lines."""
    lines: list[Any] = [{"unweave_values": 1, "model": "m", "settings": {}}]
    for group in SETS:
        for number in range(N if group in ("forget", "holdout") else 3):
            size, key = rng.randint(1, 4), {"set": group, "index": number}
            tokens = {name: [-rng.random() for _ in range(size)] for name in ("logprobs", "means", "variances")}
            wrong = [rng.random() for _ in range(2)]
            lines += [
                {
                    **key, **tokens, "family": "forced", "hits": [1] * size, "ends": True, "bytes": 9,
                    "paraphrased": [0.5], "perturbed": wrong, "perturbed_tokens": [2, 3],
                },
                {
                    **key, "family": "generated", "stemmer": True, "truth": "the sea", "generation": "a sea",
                    "rouge1_recall": 0.5, "rougeL_recall": 0.5, "rougeL_f1": None,
                },
                {**key, "family": "gradient", "norm": rng.random(), "mean_norm": 0.1},
            ]  # fmt: skip
    return lines


def theirs(rng: random.Random) -> dict[str, Any]:
    """A log of open-unlearning."""

    def table(**row: Any) -> dict[str, Any]:
        return {"agg_value": rng.random(), "value_by_index": {str(n): copy.deepcopy(row) for n in range(3)}}

    log: dict[str, Any] = {"forget_truth_ratio": table(score=0.4), "extraction_strength": table(score=0.1), "own": {}}
    for short in ("forget", "retain", "ra", "wf"):
        log[f"{short}_Q_A_Prob"] = table(prob=0.4, avg_loss=0.9)
        log[f"{short}_Q_A_PARA_Prob"] = table(prob=0.4, avg_loss=0.9)
        log[f"{short}_Q_A_PERT_Prob"] = table(prob=[0.4, 0.2], avg_loss=[0.9, 1.6])
        log[f"{short}_Q_A_ROUGE"] = table(rouge1_recall=0.3, rougeL_recall=0.3, generation="a sea", ground_truth="sea")
        log[f"{short}_Truth_Ratio"] = table(score=0.7)
    sides = {
        side: {"value_by_index": {str(n): {"score": rng.random()} for n in range(N)}} for side in ("forget", "holdout")
    }
    return log | {"mia_min_k": {"agg_value": 0.4, **sides}, "mia_loss": {"agg_value": 0.4, **copy.deepcopy(sides)}}


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree: what holds it, and its key there."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])


def damaged(tree: Any, rng: random.Random) -> Any:
    """One or two places, or all of that name, get a number, an odd value or another's value, or are lost."""
    for _ in range(rng.randint(1, 2)):
        found = [(holder, key) for holder, key in places(tree) if holder is not tree or rng.random() < 0.1]
        leaves = [(h, k) for h, k in found if isinstance(h[k], float)]
        chosen, how = rng.choice(leaves if leaves and rng.random() < 0.6 else found), rng.random()
        other, key = rng.choice(found)[0], chosen[1]
        value = rng.choice((*NUMBERS, other)) if how < 0.7 else rng.choice(ODD)
        for h, k in [(h, k) for h, k in found if k == key] if rng.random() < 0.3 else [chosen]:
            if how < 0.5 and isinstance(h[k], float):
                h[k] = rng.choice(NUMBERS)
            elif how < 0.8:
                h[k] = copy.deepcopy(value)
            elif how < 0.9 and isinstance(h, dict):
                del h[k]
            elif isinstance(h, dict):
                h[str(value)[:20]] = h.pop(k)
    return tree


def torn(content: bytes, rng: random.Random) -> bytes:
    """Bytes are lost, doubled, turned over, or put in."""
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        b = min(b, a + rng.choice((1, 5, 400)))
        put = rng.choice((b"", b"", b"\xff", b"\xef\xbb\xbf", "\u2028".encode(), b"[" * 3000, b'"', b"9" * 5000, b"\n"))
        content = content[:a] + put + content[b:]
    return content


def refuse(constant: str) -> NoReturn:
    pytest.fail(f"{constant} is no JSON")


def test_damaged_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, ran, scored, refused = random.Random(13), 0, 0, list[str]()
    makes: tuple[tuple[str, Callable[[random.Random], Any]], ...] = (("values.jsonl", collected), ("LOG.json", theirs))
    for number in range(cases(80)):
        files = []
        for side in range(1 + number % 2):
            name, make = makes[number // 2 % 2]
            how, tree = rng.randrange(4), make(rng)
            tree = damaged(tree, rng) if how else tree
            rows = tree if isinstance(tree, list) else [tree]
            content = "".join(json.dumps(row) + "\n" for row in rows).encode()
            files.append(tmp_path / f"{side}-{name}")
            files[-1].write_bytes(content if how else torn(content, rng))
        try:
            compat = COMPATS[number // 4 % 4] if makes[number // 2 % 2][1] is collected else None
            main(files, compat, as_json=bool(number // 16 % 2))
            scored += 1
            if number // 16 % 2:
                json.loads(capsys.readouterr().out, parse_constant=refuse)
        except UnweaveError as error:
            refused.append(str(error))
        capsys.readouterr()
        ran += 1
    assert ran == cases(80) and scored > ran // 10 and len(refused) > ran // 10, (ran, scored, len(refused))
    assert all(text.strip() for text in refused)
