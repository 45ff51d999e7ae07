"""One picture as 8-bit RGB, whatever its file holds: the values that it stands for, or an error."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from unweave.errors import ConfigurationError
from unweave.extras import require

_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # of EXIF and TIFF
_WHITE_IS_ZERO = 0
_TURNS = (
    *("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"),
)  # what EXIF's orientations 2 to 8 ask for
_SEE_THROUGH = {"LA", "PA", "RGBA", "La", "RGBa"}
_WITHOUT_RANGE = {"I", "F"}


def picture(file: Path | IO[bytes], name: str) -> Any:
    """The image in a file as `PIL.Image.Image` of mode RGB.

    Grey of 16 bits keeps its upper 8 (of 12 bits likewise), as Pillow does it for 16-bit colours. What shines through
    shows white. It is turned as EXIF says. Of an animation it is the first frame.

    Args:
        file: path or open file.
        name: what messages call it.

    Raises:
        ConfigurationError: no image, a damaged one, one of too many pixels, a TIFF of several pages, numbers without a
            known range (32 bits, floating point), or CMYK in a JPEG that does not say which way round.
        UnsupportedError: the extra that reads images is not installed.
    """
    pillow = require("PIL.Image", "vision")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of EXIF tags and the like
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(file) as image:
                _check(image)
                image.load()
                return _turned(pillow, _rgb(pillow, image), image)
    except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
        raise ConfigurationError(
            f"{name} must have at most {pillow.MAX_IMAGE_PIXELS} pixels (PIL.Image.MAX_IMAGE_PIXELS), and has more: "
            "make it smaller, or take it out"
        ) from error
    except MemoryError:
        raise
    except pillow.UnidentifiedImageError as error:
        raise ConfigurationError(f"{name} must be an image: its content is none that Pillow knows") from error
    except Exception as error:  # whatever the decoders of some thirty formats raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"{name} must be an image and cannot be read: {why}") from error


def _check(image: Any) -> None:
    """Refuses what Pillow reads without a word, and not as it is meant."""
    if image.format == "TIFF" and image.n_frames > 1:
        raise ValueError(f"it holds {image.n_frames} pages: save the one that is meant, or each as a file")
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        raise ValueError("its CMYK values may be meant either way round (no Adobe marker): save it as RGB")
    if image.mode == "RGB" and "transparency" in image.info and image.tile[0][3] == "RGB;16B":
        raise ValueError("its transparent colour is one of 16 bits: save it with an alpha channel, or with 8 bits")


def _rgb(pillow: Any, image: Any) -> Any:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return pillow.fromarray(_upper_bits(image)).convert("RGB")
    if image.mode in _WITHOUT_RANGE:
        raise ValueError("its pixels are 32-bit numbers, whose black and white nothing says: save it with 8 or 16 bits")
    if image.mode in _SEE_THROUGH or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _upper_bits(image: Any) -> np.ndarray:
    """Grey of more than 8 bits as 8; the one value that stands for transparent is white."""
    tags = getattr(image, "tag_v2", {})
    values, bits = np.asarray(image).astype(np.int64), tags.get(_BITS, (16,))[0]
    grey = values >> (bits - 8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey = np.where(values == image.info["transparency"], 255, grey)
    return grey.astype(np.uint8)


def _turned(pillow: Any, rgb: Any, image: Any) -> Any:
    way = 1
    with suppress(Exception):  # damaged EXIF says nothing of how to turn it
        way = image.getexif().get(_ORIENTATION, 1)
    return rgb.transpose(getattr(pillow.Transpose, _TURNS[way - 2])) if way in range(2, 9) else rgb
