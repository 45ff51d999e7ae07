"""Images or texts: which keys of a recipe belong to which, and what one has where it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from unweave.run.marks import Document, Location

Modality = Literal["images", "texts"]
IMAGES = ("digits", "cifar10", "image_folder")
BENCHMARKS = ("tofu", "waterdrum", "muse", "wmdp")
TEXTS = ("texts", *BENCHMARKS)

_ONLY: dict[Modality, dict[str, tuple[str, ...]]] = {
    "images": {
        "forget": ("class", "poison", "mix"),
        "model": ("network",),
        "": ("evidence",),
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

_REQUESTS = ("requests", "already")  # lists of what `forget` is one of

_TAKES: dict[bool, tuple[str, tuple[str, ...]]] = {  # what `forget` may be of a benchmark and of one's own, and not
    True: ("split", ("ids", "indices", "file", "random")),
    False: ("ids, indices, file or random", ("split",)),
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

    def rest(section: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [rest(section, each) for each in value]
        return (
            {k: v for k, v in value.items() if k not in others.get(section, ())} if isinstance(value, dict) else value
        )

    top = {key: value for key, value in content.items() if key not in others.get("", ())}
    return {name: rest("forget" if name in _REQUESTS else name, value) for name, value in top.items()}


def misplaced(document: Document) -> list[str]:
    """Faults: what is written and belongs to the other modality, or to another source of the same."""
    own = of_document(document)
    if own is None:
        return []
    source = document.content["data"]["source"]
    other: Modality = "texts" if own == "images" else "images"
    found = []
    for section, keys in _ONLY[other].items():
        for place, written in _sections(document, section):
            for where in ((*place, key) for key in keys if isinstance(written, dict) and key in written):
                text = f"{_dotted(where)}: is for {other}, and the source {source!r} has {own}."
                found.append(f"{document.place(where)}: {text}{_instead(own, section)}")
    return found if own == "images" else [*found, *_of_texts(document, source)]


def _sections(document: Document, name: str) -> list[tuple[Location, Any]]:
    """The section of this name, "" for the recipe itself, and where; of "forget" all requests."""
    if name == "forget":
        return _forgets(document)
    return [((name,), document.content.get(name))] if name else [((), document.content)]


def _forgets(document: Document) -> list[tuple[Location, Any]]:
    """All requests that a recipe names, and where."""
    found: list[tuple[Location, Any]] = [(("forget",), document.content.get("forget", {}))]
    for name in _REQUESTS:
        entries: Any = document.content.get(name)
        found += [((name, n), each) for n, each in enumerate(entries)] if isinstance(entries, list | tuple) else []
    return found


def _dotted(where: Location) -> str:
    return ".".join(map(str, where))


def _instead(own: Modality, section: str) -> str:
    if section != "forget":
        return ""
    return " Use class, indices, random or poison." if own == "images" else " Use ids, indices, file, random or split."


def _of_texts(document: Document, source: str) -> list[str]:
    """What one source of texts takes and another does not, and what a model is given as."""
    found: list[str] = []

    def told(what: str, *where: str | int) -> None:
        found.append(f"{document.place(where)}: {_dotted(where)}: {what}")

    model, data = (each if isinstance(each := document.content.get(name), dict) else {} for name in ("model", "data"))
    takes, others = _TAKES[source in BENCHMARKS]
    if source in BENCHMARKS:
        for name in (name for name in _REQUESTS if document.content.get(name)):
            told("several requests in a row are for texts of your own: give this one as 'forget'", name)
    for place, forget in _forgets(document):
        for key in others if isinstance(forget, dict) else ():
            if forget.get(key) is not None:
                told(f"the source {source!r} takes {takes}", *place, key)
        if place != ("forget",) and isinstance(forget, dict) and forget.get("file") is not None:
            told("requests in a row are for texts that 'data' holds: name them with ids or indices", *place, "file")
    if data.get("duplicates") is not None and source not in ("tofu", "waterdrum"):
        told(f"the source {source!r} has none: they are TOFU's and WaterDrum's", "data", "duplicates")
    if model.get("weights") is None and model.get("base") is None:
        told("expected weights (the model to unlearn) or base (a model to fine-tune on the data first)", "model")
    if model.get("lora") is not None and model.get("adapter") is not None:
        told("lora makes new adapters and adapter loads old ones: give one of them", "model", "adapter")
    if model.get("base") is None and model.get("weights") is not None and document.content.get("training"):
        told("is how model.base is fine-tuned; model.weights is unlearned as it is", "training")
    return found


def training_of(own: Modality) -> Callable[..., Any]:
    """What the keys of `training` belong to."""
    if own == "texts":
        from unweave.run.text.finetuning import Finetuning

        return Finetuning
    from unweave.run.training import Training

    return Training
