"""A picture of what models draw: a row for each model, a column for each condition."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unweave.errors import ConfigurationError
from unweave.extras import require

SIDE = 48  # pixels that an image has at least
GAP, LINE = 2, 14  # pixels between images, and of a line of words
_LETTER = 7  # pixels, at most


def grid(rows: Mapping[str, Tensor], columns: Sequence[str]) -> bytes:
    """A PNG of drawn images; what lies beyond [-1, 1] is cut, and small ones are enlarged without smoothing.

    Args:
        rows: of each model, by name, its images `[columns, 1 or 3, h, w]` in [-1, 1]; of others the channels' mean.
        columns: the name of each condition.

    Raises:
        ConfigurationError: no rows, or one that has not one image a column or another shape than the first.
        UnsupportedError: Pillow is not installed.
    """
    shapes = {name: list(images.shape) for name, images in rows.items()}
    if not rows or len({tuple(shape) for shape in shapes.values()}) > 1:
        raise ConfigurationError(f"a grid needs rows of one shape, [columns, channels, h, w]; found {shapes}")
    count, _, height, width = (shape := next(iter(shapes.values())))
    if count != len(columns):
        raise ConfigurationError(f"a grid needs one image a column, {len(columns)}; found {shape}")
    image, drawing = require("PIL.Image", extra="diffusion"), require("PIL.ImageDraw", extra="diffusion")
    scale = max(1, -(-SIDE // min(height, width)))
    height, width = scale * height + GAP, scale * width + GAP
    left = _LETTER * max(map(len, rows)) + 2 * GAP
    paper = image.new("RGB", (left + count * width, LINE + len(rows) * height), "white")
    pen = drawing.Draw(paper)
    for place, name in enumerate(columns):
        pen.text((left + place * width, 0), name[: width // _LETTER], fill="black")
    for line, (name, images) in enumerate(rows.items()):
        top = LINE + line * height
        pen.text((GAP, top + (height - LINE) // 2), name, fill="black")
        for place, pixels in enumerate(_bytes(images, scale)):
            paper.paste(image.fromarray(pixels.numpy()), (left + place * width, top))
    written = io.BytesIO()
    paper.save(written, format="PNG")
    return written.getvalue()


def _bytes(images: Tensor, scale: int) -> Tensor:
    """`[n, scale h, scale w, 3]`; what is not a number is black."""
    images = images.detach().float().cpu().nan_to_num(-1.0)
    images = images if images.shape[1] in (1, 3) else images.mean(1, keepdim=True)
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels = pixels.expand(-1, 3, -1, -1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return pixels.permute(0, 2, 3, 1).contiguous()
