"""Images or texts: which keys of a recipe belong to which, and what one has where it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from unweave.run.marks import Document

Modality = Literal["images", "texts"]
IMAGES = ("digits", "cifar10", "image_folder")
BENCHMARKS = ("tofu", "waterdrum", "muse", "wmdp")
TEXTS = ("texts", *BENCHMARKS)

_ONLY: dict[Modality, dict[str, tuple[str, ...]]] = {
    "images": {
        "forget": ("class", "indices", "poison", "mix"),
        "model": ("network",),
        "": ("requests", "already", "sequence", "evidence"),
    },
    "texts": {
        "data": (
            *("config", "split", "columns", "holdout", "refusals", "duplicates", "retain_sample"),
            *("format", "system", "max_length", "too_long"),
        ),
        "forget": ("ids", "file", "split"),
        "model": ("base", "revision", "lora", "adapter", "dtype", "checkpointing"),
        "evaluation": ("reference", "at_most", "generate", "gradient", "relearning", "batch_tokens", "compat"),
    },
}

_DEFAULTS: dict[Modality, dict[str, dict[str, Any]]] = {
    "images": {},
    "texts": {"run": {"forget_batch": 8, "retain_batch": 16}, "guards": {"near_duplicates": "off"}},
}


def modality(source: object) -> Modality | None:
    """Of a data source; None where there is none of that name."""
    return "texts" if source in TEXTS else "images" if source in IMAGES else None


def of_document(document: Document) -> Modality | None:
    """Of what a recipe says."""
    data = document.content.get("data")
    return modality(data.get("source")) if isinstance(data, dict) else None


def filled(document: Document) -> Document:
    """The recipe with its modality's defaults, where they differ from the sections' own."""
    content: dict[str, Any] = dict(document.content)
    for section, defaults in _DEFAULTS[of_document(document) or "images"].items():
        if isinstance(written := content.get(section, {}), dict):
            content[section] = {**defaults, **written}
    return Document(content, document.name, document.places)


def pruned(content: dict[str, Any]) -> dict[str, Any]:
    """A recipe as plain data, without the keys of the other modality."""
    own = modality(content["data"]["source"])
    others = {section: keys for name, table in _ONLY.items() if name != own for section, keys in table.items()}
    top = {key: value for key, value in content.items() if key not in others.get("", ())}
    return {
        name: {k: v for k, v in value.items() if k not in others.get(name, ())} if isinstance(value, dict) else value
        for name, value in top.items()
    }


def misplaced(document: Document) -> list[str]:
    """Faults: what is written and belongs to the other modality, or to another source of the same."""
    own = of_document(document)
    if own is None:
        return []
    source = document.content["data"]["source"]
    other: Modality = "texts" if own == "images" else "images"
    found = []
    for section, keys in _ONLY[other].items():
        written: Any = document.content.get(section) if section else document.content
        for key in keys if isinstance(written, dict) else ():
            if key in written:
                where = (section, key) if section else (key,)
                text = f"{'.'.join(where)}: is for {other}, and the source {source!r} has {own}."
                found.append(f"{document.place(where)}: {text}{_instead(own, section)}")
    return found if own == "images" else [*found, *_of_texts(document, source)]


def _instead(own: Modality, section: str) -> str:
    if section != "forget":
        return ""
    return " Use class, indices, random or poison." if own == "images" else " Use ids, file, random or split."


def _of_texts(document: Document, source: str) -> list[str]:
    """What one source of texts takes and another does not, and what a model is given as."""
    found: list[str] = []

    def told(what: str, *where: str) -> None:
        found.append(f"{document.place(where)}: {'.'.join(where)}: {what}")

    written = (document.content.get(name) for name in ("forget", "model", "data"))
    forget, model, data = (each if isinstance(each, dict) else {} for each in written)
    takes, other = ("split", ("ids", "file", "random")) if source in BENCHMARKS else ("ids, file or random", ("split",))
    for key in other:
        if forget.get(key) is not None:
            told(f"the source {source!r} takes {takes}", "forget", key)
    if data.get("duplicates") is not None and source not in ("tofu", "waterdrum"):
        told(f"the source {source!r} has none: they are TOFU's and WaterDrum's", "data", "duplicates")
    given = [key for key in ("weights", "base") if model.get(key) is not None]
    if len(given) != 1:
        kinds = "weights (the model to unlearn) and base (a model to fine-tune on the data first)"
        told(f"expected exactly one of {kinds}, found {'both' if given else 'none'}", "model")
    if model.get("lora") is not None and model.get("adapter") is not None:
        told("lora makes new adapters and adapter loads old ones: give one of them", "model", "adapter")
    if given == ["weights"] and document.content.get("training"):
        told("is how model.base is fine-tuned; model.weights is unlearned as it is", "training")
    return found


def training_of(own: Modality) -> Callable[..., Any]:
    """What the keys of `training` belong to."""
    if own == "texts":
        from unweave.run.text.finetuning import Finetuning

        return Finetuning
    from unweave.run.training import Training

    return Training
