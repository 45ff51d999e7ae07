"""Which examples were hardest to forget, which retained ones paid, and how far first order was right."""

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
from unweave.run.prepare import Request

MOST = 12  # examples of a kind that a run directory keeps, as pictures
SAMPLE = 2000  # retain examples among which those that paid are looked for


def examples(request: Request, quote: Mapping[str, Any], original: nn.Module, unlearned: nn.Module) -> dict[str, Any]:
    """`examples.json`: the hardest forget examples, the retain examples that paid, and the point that was reached.

    Hardness and prices are the quote's predictions. `before` and `after` are log-odds of an error, in nats: far below
    0 the model is sure, above 0 it is wrong. Those that paid have the largest rise among the retain examples that were
    looked at, up to 2,000 drawn at random. `reached` is the change of both means.

    Args:
        request: the data; the rows of the quote are those of its training set.
        quote: of the request, made before the run; what `quote.json` holds.
        original: the model before.
        unlearned: the model after.
    """
    retain = _sample(request.split.retain)
    sides = {"forget": request.split.forget, "retain": retain}
    before, after = (
        {side: _odds(model, request, rows) for side, rows in sides.items()} for model in (original, unlearned)
    )
    rise = {side: after[side] - before[side] for side in sides}
    hardness, price = ({e["row"]: e["value"] for e in quote[side]} for side in ("forget", "payers"))
    place = {int(row): i for i, row in enumerate(request.split.forget)}
    hardest = [place[row] for row in list(hardness)[:MOST] if row in place]
    paid = np.argsort(-rise["retain"], kind="stable")[:MOST]

    def listed(side: str, chosen: Sequence[int], predicted: dict[int, float]) -> list[dict[str, Any]]:
        rows = [int(sides[side][i]) for i in chosen]
        values = zip(rows, chosen, strict=True)
        return [
            {
                "row": row,
                "label": int(request.train.labels[row]),
                "predicted": predicted.get(row),
                "before": float(before[side][i]),
                "after": float(after[side][i]),
                "png": _png(request.train, row),
            }
            for row, i in values
        ]

    return {
        "hardest": listed("forget", hardest, hardness),
        "paid": listed("retain", [int(i) for i in paid], price),
        "reached": {side: float(values.mean()) for side, values in rise.items()},
        "retain_examples": len(retain),
    }


def _sample(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))


def _odds(model: nn.Module, request: Request, rows: np.ndarray) -> np.ndarray:
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
