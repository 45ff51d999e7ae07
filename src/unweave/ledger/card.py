"""The section of a model card, in the form of the Hugging Face Hub: YAML metadata before Markdown.

The metadata are `tags` and a `model-index` (https://huggingface.co/docs/hub/model-cards). A card that is there already
keeps everything of its own; what an earlier section said is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from unweave.data.cache import atomically
from unweave.errors import ConfigurationError
from unweave.ledger.book import Standing
from unweave.ledger.certificate import LIMITS
from unweave.ledger.chain import Entry, Json

TAGS = ("machine-unlearning", "unweave")
_BEGIN, _END = "<!-- unweave: begin -->", "<!-- unweave: end -->"
_FRONT = re.compile(r"\A---\n(?P<yaml>.*?)^---\n", re.DOTALL | re.MULTILINE)
_OURS = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END) + "\n?", re.DOTALL)
_SCORES = {"TA": ("test", "Accuracy on unseen examples"), "RA": ("retain", "Accuracy on retained training examples")}


def write(folder: Path, certified: Sequence[Standing]) -> Path:
    """Puts the section into the `README.md` beside a model.

    Args:
        folder: of the model, inside its run directory.
        certified: the requests that it has unlearned, its own last.

    Raises:
        ConfigurationError: a card is there whose metadata cannot be read.
    """
    recipe = yaml.safe_load((folder.parent / "recipe.yaml").read_text(encoding="utf-8"))
    path = folder / "README.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    index = model_index(certified[-1].decided, recipe["model"]["network"], recipe["data"]["source"])
    try:
        new = merged(old, index, section(certified))
    except (yaml.YAMLError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}: its metadata cannot be read as YAML: {' '.join(str(error).split())}"
        ) from error
    atomically(path, new.encode())
    return path


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
    clauses = [f"- {c['clause']} ({'met' if c['met'] else 'missed'})" for c in last["contract"]]
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
            f"Weights (SHA-256 of all tensors): `{last['weights']['after']}`; file `{last['model']['sha256']}`.",
            "",
            LIMITS,
            _END,
            "",
        ]
    )


def _claim(each: Standing) -> str:
    return ", ".join(filter(None, (each.claim["level"] or "none", each.attested)))


def model_index(certificate: Entry, network: str, data: str) -> Json:
    """One entry of `model-index`: accuracies of the unlearned model."""
    scores = certificate.body["scores"].get("unlearned", {})
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": data, "type": data, "split": split},
            "metrics": [{"type": "accuracy", "name": title, "value": round(scores[name]["value"], 6)}],
        }
        for name, (split, title) in _SCORES.items()
        if scores.get(name, {}).get("value") is not None
    ]
    return {"name": f"{network}-unlearned", "results": results}


def merged(card: str, index: Json, section: str) -> str:
    """A card with the section and its metadata; everything else as it was."""
    front = _FRONT.match(card)
    data = (yaml.safe_load(front["yaml"]) or {}) if front else {}
    text = card[front.end() :] if front else card
    tags = data.get("tags") or []
    data["tags"] = [*tags, *(tag for tag in TAGS if tag not in tags)]
    others = [each for each in data.get("model-index") or [] if each.get("name") != index["name"]]
    if index["results"]:
        data["model-index"] = [*others, index]
    rest = _OURS.sub("", text).rstrip("\n")
    metadata = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return f"---\n{metadata}---\n{rest}\n\n{section}" if rest else f"---\n{metadata}---\n\n{section}"
