"""Ledgers that no model was trained for: every kind of entry, and the files that they speak of."""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from pathlib import Path

import yaml

from tests.report.card import card
from unweave.ledger import Deletion, Ledger, Selector
from unweave.ledger.attestation import put
from unweave.ledger.chain import Json
from unweave.ledger.publish import publish
from unweave.store import file_sha256

SHEET = {"TA": {"value": 0.9, "low": 0.85, "high": 0.95, "n": 100, "unit": "share"}}


def small(folder: Path, requests: int = 5) -> Ledger:
    """A few requests: one is rejected by hand, two are certified in a batch, one of them attested; others are open."""
    ledger = Ledger(folder)
    for number in range(requests):
        ledger.add(Deletion(f"R-{number}", Selector(rows=(number, number + 40)), basis="GDPR 17"))
    ledger.reject("R-0", "not ours")
    names = ["R-1", "R-2"]
    place = made(folder / "runs" / "0001.yaml", b"version: 1\n")
    recipe = {"file": "runs/0001.yaml", "sha256": file_sha256(place)}
    body: Json = {"batch": "0001", "requests": names, "asked": "", "recipe": recipe, "data": "", "begins": None}
    made(ledger.gone_file("0001"), b"[8,9]")
    body["gone"] = {"count": 2, "hmac": ledger.key.rows("0001", (8, 9))}
    ledger.write(lambda book: ("batch", body))
    for number, name in enumerate(names, 1):
        ledger.write(lambda book, name=name, number=number: ("certificate", certificate(folder, name, number)))
    put(ledger, "R-1", evidence(folder, "R-1"))
    publish(ledger)
    ledger.write(lambda book: ("end", {"batch": "0001", "requests": names, "why": "done"}))
    return ledger


def certificate(folder: Path, name: str, number: int) -> Json:
    """The body of one, and its files."""
    place = folder / "runs" / "0001" / f"{number:02d}-{name}"
    model = made(place / "model" / "model.safetensors", random.Random(name).randbytes(300))
    recipe = {"model": {"network": "digits_cnn"}, "data": {"source": "digits"}}
    written = made(place / "recipe.yaml", yaml.safe_dump(recipe).encode())
    files = {"model": model, "recipe": written}
    others = [made(place / name, f"{name} of {number}".encode() * 20) for name in ("summary.json", "scores.json")]
    return {
        "request": name,
        "batch": "0001",
        "verdict": "contract met",
        "claim": {"level": "E0", "text": "It ran.", "against": [], "missing": []},
        "records": {"named": 2, "count": 2, "hmac": "00", "key": "00"},
        "weights": {"before": "00", "after": f"{number}"},
        **{k: {"file": str(path.relative_to(folder)), "sha256": file_sha256(path)} for k, path in files.items()},
        "files": [{"file": str(path.relative_to(folder)), "sha256": file_sha256(path)} for path in others],
        "code": {"unweave": "0", "sha256": "00"},
        "environment": {},
        "method": "hamu_q",
        "steps": 1,
        "seconds": 1.5,
        "contract": [{"side": "keep", "clause": "c", "limit": 0.1, "measured": 0.0, "n": 60, "met": True}],
        "retest": {"id": name, "met": True, "clauses": []},
        "scores": {"original": SHEET, "unlearned": SHEET},
        "limits": "Limits.",
    }


def evidence(folder: Path, name: str, **changes: Json) -> bytes:
    """An `evidence.json` about the model of a request of `small`; changes are to its parts."""
    number = int(name.removeprefix("R-"))
    found, recipe = copy.deepcopy(_card()), folder / "runs" / "0001" / f"{number:02d}-{name}" / "recipe.yaml"
    found["own_run"] = {"recipe": file_sha256(recipe), "before": "00", "after": f"{number}"}
    found["request"]["forget"] = 2
    next(model for model in found["runs"]["models"] if model["kind"] == "unlearned")["sha256"] = f"{number}"
    for part, change in changes.items():
        found[part] |= change
    return json.dumps(found).encode()


@cache
def _card() -> Json:
    found: Json = json.loads(json.dumps(card()))
    return found


def made(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
