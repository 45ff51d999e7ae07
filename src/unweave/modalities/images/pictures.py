"""Small pictures for reports."""

from __future__ import annotations

import base64
import io

import torch
from torch import Tensor


def png(image: Tensor) -> str:
    """An image `[channels, height, width]` as it was read, as base64 PNG; its own range where it is not of bytes."""
    from PIL import Image

    pixels = image if image.shape[0] in (1, 3) else image.float().mean(0, keepdim=True)
    if pixels.is_floating_point():
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    written = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(written, format="PNG")
    return base64.b64encode(written.getvalue()).decode()
