"""Certificates, model cards and the index, made from the truth: what others read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml

from unweave.contract.reading import state_of
from unweave.errors import ConfigurationError
from unweave.ledger import files
from unweave.ledger.book import Standing
from unweave.ledger.certificate import LIMITS, text
from unweave.ledger.chain import Entry, Json, written
from unweave.ledger.files import ADAPTER, read_json
from unweave.ledger.ledger import Ledger
from unweave.modalities import MODALITIES, of_source
from unweave.store import atomically, tidy

TAGS = ("machine-unlearning", "unweave")
FILE = "README.md"
_BEGIN, _END = "<!-- unweave: begin -->", "<!-- unweave: end -->"
_FRONT = re.compile(r"\A---\n(?P<yaml>.*?)^---\n", re.DOTALL | re.MULTILINE)
_OURS = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END) + "\n?", re.DOTALL)


def write(folder: Path, certified: Sequence[Standing]) -> Path:
    """Puts the section into the `README.md` beside a model.

    Args:
        folder: of the model, inside its run directory.
        certified: the requests that it has unlearned, its own last.

    Raises:
        ConfigurationError: a card is there whose metadata cannot be read.
    """
    path = folder / FILE
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = merged(old, _index(folder, certified), section(certified))
    except (yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{path}: its metadata, or those of the run, cannot be read as YAML: {' '.join(str(error).split())}"
        ) from error
    atomically(path, written(new))
    return path


def state(folder: Path, certified: Sequence[Standing]) -> Literal["same", "more", "other"]:
    """Whether the card beside a model is the one of these requests, that and text of others, or another one.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: card or recipe cannot be read.
    """
    found, index, ours = (folder / FILE).read_bytes(), _index(folder, certified), section(certified)
    if found == written(merged("", index, ours)):
        return "same"
    try:
        card = found.decode()
        front = _FRONT.match(card)
        data = yaml.safe_load(front["yaml"]) if front else {}
        told = {*TAGS} <= {*data["tags"]} and (not index["results"] or index in data["model-index"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError):
        return "other"
    return "more" if told and _OURS.findall(card) == [ours] else "other"


def section(certified: Sequence[Standing]) -> str:
    """The Markdown: a row per request, the claim and the contract of the last, and what all that does not say."""
    last, claim = certified[-1].decided.body, certified[-1].claim
    rows = [
        f"| {each.id} | {body['records']['count']} | {body['verdict']} | {_claim(each)} "
        f"| entry {each.decided.number}, `{each.decided.hash[:12]}` |"
        for each in certified
        for body in [each.decided.body]
    ]
    what = f"{len(rows)} deletion request{'s' if rows[1:] else ''}"
    clauses = [f"- {c['clause']} ({state_of(c)})" for c in last["contract"]]
    return "\n".join(
        [
            _BEGIN,
            "## Unlearning",
            "",
            f"The influence of the records of {what} on these weights was bounded with `{last['method']}` "
            f"(unweave {last['code']['unweave']}), and measured.",
            "",
            "| request | records | verdict | claim | certificate |",
            "|---|---:|---|---|---|",
            *rows,
            "",
            f"Claim of the last: {claim['text']}",
            *(f"- against: {each}" for each in claim["against"]),
            "",
            "Contract:",
            "",
            *clauses,
            "",
            f"Weights (SHA-256 of all tensors): `{last['weights']['after']}`; "
            f"{'files' if 'files' in last['model'] else 'file'} `{last['model']['sha256']}`.",
            "",
            LIMITS,
            _END,
            "",
        ]
    )


def _index(folder: Path, certified: Sequence[Standing]) -> Json:
    try:
        recipe = yaml.safe_load((folder.parent / "recipe.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"recipe.yaml: {error}") from error
    return model_index(certified[-1].decided, _network(recipe, folder), recipe["data"]["source"])


def _claim(each: Standing) -> str:
    return ", ".join(filter(None, (each.claim["level"] or "none", each.attested)))


def _network(recipe: Json, folder: Path) -> str:
    """What was unlearned, by its network; of texts by the model that the adapters are for, or by its kind."""
    if (network := recipe["model"].get("network")) is not None:
        return str(network)
    for file, key in ((ADAPTER, "base_model_name_or_path"), ("config.json", "model_type")):
        if (folder / file).is_file() and (name := read_json(folder / file).get(key)):
            return Path(name).name
    return "model"


def model_index(certificate: Entry, network: str, data: str) -> Json:
    """One entry of `model-index`: what is left of the unlearned model; of texts also of what was to be forgotten."""
    scores, kind = certificate.body["scores"].get("unlearned", {}), of_source(data)
    results = (
        []
        if kind is None
        else [
            {
                "task": {"type": kind.card.task},
                "dataset": {"name": data, "type": data, "split": split},
                "metrics": [{"type": type_, "name": title, "value": round(scores[name]["value"], 6)}],
            }
            for name, (split, type_, title) in kind.card.scores.items()
            if scores.get(name, {}).get("value") is not None
        ]
    )
    return {"name": f"{network}-unlearned", "results": results}


def merged(card: str, index: Json, section: str) -> str:
    """A card with the section and its metadata; everything else as it was."""
    front = _FRONT.match(card)
    data = (yaml.safe_load(front["yaml"]) or {}) if front else {}
    text = card[front.end() :] if front else card
    tags = data.get("tags") or []
    data["tags"] = [*tags, *(tag for tag in TAGS if tag not in tags)]
    others = [each for each in data.get("model-index") or [] if each.get("name") != index["name"]]
    tasks = {result["task"]["type"] for result in index["results"]}
    if tasks and tasks <= {kind.card.task for kind in MODALITIES.values() if kind.card.pipeline}:
        data.setdefault("pipeline_tag", *tasks)
    if index["results"]:
        data["model-index"] = [*others, index]
    rest = _OURS.sub("", text).rstrip("\n")
    metadata = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return f"---\n{metadata}---\n{rest}\n\n{section}" if rest else f"---\n{metadata}---\n\n{section}"


def publish(ledger: Ledger) -> None:
    """Writes the certificates that are on record and not in their files, and the cards of the models that they are in.

    While it does, nobody adds to the truth: of two that publish, neither writes what is behind.
    """
    with ledger.still() as (_, book):
        tidy(ledger.folder / "certificates")
        certified = book.certified
        stale = [each for each in book.answered if not _told(ledger, each)]
        first = next((number for number, each in enumerate(certified) if each in stale), len(certified))
        for number in range(first, len(certified)):
            place = files.folder_of(ledger.folder, certified[number].decided.body["model"])
            tidy(place)
            if (place.parent / "recipe.yaml").is_file():  # a run directory may have moved since
                write(place, certified[: number + 1])
        for each in stale:
            path = ledger.certificate_file(each.id)
            atomically(path.with_suffix(".md"), written(text(each.decided, each.attestations)))
            atomically(path, each.decided.pretty)


def _carded(ledger: Ledger, each: Standing) -> bool:
    """Its model has a card, if it lies where it was and is to have one."""
    if not each.issued:
        return True
    place = files.folder_of(ledger.folder, each.decided.body["model"])
    return (place / FILE).exists() or not (place.parent / "recipe.yaml").is_file()


def _told(ledger: Ledger, each: Standing) -> bool:
    """The files are there, and say all; what was edited is for `verify` to find."""
    path = ledger.certificate_file(each.id)
    words = path.with_suffix(".md")
    if not (path.exists() and words.exists() and _carded(ledger, each)):
        return False
    earlier = [written(text(each.decided, each.attestations[:count])) for count in range(len(each.attestations))]
    return not earlier or words.read_bytes() not in earlier
