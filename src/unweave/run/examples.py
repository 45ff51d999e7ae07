"""Example by example: how each model does on what was to be forgotten, and which retained examples paid."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave.data.images import TensorImages
from unweave.evaluation import predict
from unweave.evaluation.value import Array
from unweave.run.prepare import Request

MOST = 12  # examples of a kind that a run directory keeps, as pictures
WORST = 10
SAMPLE = 2000  # retain examples among which those that paid are looked for
POINTS = 400  # values of a distribution that are kept
Json = dict[str, Any]


def examples(request: Request, quote: Mapping[str, Any] | None, models: Mapping[str, nn.Module]) -> Json:
    """`examples.json`: single examples as pictures, and the distribution of all of the forget set.

    All values are log-odds of an error, in nats: far below 0 a model is sure, above 0 it is wrong.

    * `distribution`: of the forget set under every model, and of unseen examples of its labels under the unlearned
      one, sorted; quantiles where there are more than 400.
    * `worst`: the ten forget examples that the unlearned model knows best; by comparison with the retrained model's
      value, where there is one, as an example that every model gets right has not been remembered.
    * `hardest`: to forget, as the quote predicts. `paid`: the retain examples with the largest rise, of up to 2,000
      drawn at random. `reached`: the change of both means.

    Args:
        request: the data; the rows of the quote are those of its training set.
        quote: of the request, made before the run; what `quote.json` holds. None where the run was not quoted.
        models: "original", "unlearned" and, where there is one, "retrained".
    """
    retain = _sample(request.split.retain)
    sides = {"forget": request.split.forget, "retain": retain}
    odds = {name: {side: _odds(model, request, rows) for side, rows in sides.items()} for name, model in models.items()}
    before, after = odds["original"], odds["unlearned"]
    rise = {side: after[side] - before[side] for side in sides}
    told = quote or {"forget": [], "payers": []}
    hardness, price = ({e["row"]: e["value"] for e in told[side]} for side in ("forget", "payers"))
    place = {int(row): i for i, row in enumerate(request.split.forget)}
    paid = np.argsort(-rise["retain"], kind="stable")[:MOST]
    known = after["forget"] - odds["retrained"]["forget"] if "retrained" in odds else after["forget"]
    worst = np.argsort(known, kind="stable")[:WORST]

    def listed(side: str, chosen: Sequence[int], predicted: Mapping[int, float]) -> list[Json]:
        rows = [int(sides[side][i]) for i in chosen]
        return [
            {
                "row": row,
                "label": int(request.train.labels[row]),
                "predicted": predicted.get(row),
                "before": float(before[side][i]),
                "after": float(after[side][i]),
                "retrained": float(odds["retrained"][side][i]) if "retrained" in odds else None,
                "png": _png(request.train, row),
            }
            for row, i in zip(rows, chosen, strict=True)
        ]

    return {
        "hardest": listed("forget", [place[row] for row in list(hardness)[:MOST] if row in place], hardness),
        "paid": listed("retain", [int(i) for i in paid], price),
        "worst": listed("forget", [int(i) for i in worst], hardness),
        "reached": {side: float(values.mean()) for side, values in rise.items()},
        "retain_examples": len(retain),
        "distribution": {
            **{name: _thinned(values["forget"]) for name, values in odds.items()},
            **_unseen(request, models["unlearned"]),
        },
    }


def _unseen(request: Request, model: nn.Module) -> Json:
    if request.holdout is None or not len(request.holdout):
        return {}
    return {"unseen": _thinned(-np.asarray(predict(model, request.task, request.holdout).margin))}


def _thinned(values: Array) -> list[float]:
    ordered = np.sort(values)
    if len(ordered) > POINTS:
        ordered = np.quantile(ordered, np.linspace(0, 1, POINTS))
    return [float(value) for value in ordered]


def _sample(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))


def _odds(model: nn.Module, request: Request, rows: np.ndarray) -> Array:
    return -np.asarray(predict(model, request.task, request.train.subset(rows)).margin)


def _png(data: TensorImages, row: int) -> str:
    """The image as it was read, as base64 PNG; its own range where it is not of bytes."""
    from PIL import Image

    image = data.images[row]
    pixels = _grey(image) if image.shape[0] not in (1, 3) else image
    if pixels.is_floating_point():
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    written = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(written, format="PNG")
    return base64.b64encode(written.getvalue()).decode()


def _grey(image: Tensor) -> Tensor:
    return image.float().mean(0, keepdim=True)
