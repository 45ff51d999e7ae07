"""Every kind of image file gives the values that it stands for, or is refused by its name; expected ones by numpy."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from unweave.errors import ConfigurationError
from unweave.modalities.images.image_folder import picture

Image: Any = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)
COLOURS = RNG.integers(0, 65536, (5, 7, 4)).astype(np.uint16)
SMALL = (COLOURS >> 8).astype(np.uint8)
INDEX = RNG.integers(0, 4, (5, 7)).astype(np.uint8)
PALETTE = np.array([[10, 20, 30], [250, 0, 60], [70, 80, 90], [200, 100, 0]])
WHITE = 255


def saved(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(colour: int, pixels: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """16 bits a sample, which Pillow does not write for all kinds."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    clear = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    parts = chunk(b"IHDR", head), clear, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, 2)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + WHITE * (1 - share)


def palette() -> Any:
    image = Image.fromarray(INDEX).convert("P")
    image.putpalette(PALETTE.flatten().tolist())
    return image


def tiff_of_white_zero(image: Any) -> bytes:
    content = bytearray(saved(image, "TIFF"))
    content[content.find(struct.pack("<HHI", 262, 3, 1)) + 8] = 0  # PhotometricInterpretation
    return bytes(content)


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """Two values in three bytes, row by row."""
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    data = packed.astype(np.uint8).tobytes()
    tags = {256: values.shape[1], 257: values.shape[0], 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: values.shape[0]}
    tags[279] = len(data)
    kinds = {tag: 4 if tag in (273, 279) else 3 for tag in tags}
    entries = b"".join(struct.pack("<HHII", tag, kinds[tag], 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(data) + len(data) % 2)
    return head + data + b"\0" * (len(data) % 2) + struct.pack("<H", len(tags)) + entries + b"\0" * 4


CMYK = np.stack([SMALL[..., i] for i in range(4)], 2)
TWELVE = RNG.integers(0, 4096, (4, 6))
PALE = palette()
RIGHT: dict[str, tuple[bytes, np.ndarray]] = {
    "16-bit grey PNG": (saved(Image.fromarray(GREY), "PNG"), grey(GREY >> 8)),
    "16-bit grey PNG, one value transparent": (
        png(0, GREY, (int(GREY[0, 0]),)),
        grey(np.where(GREY[0, 0] == GREY, WHITE, GREY >> 8)),
    ),
    "16-bit grey TIFF": (saved(Image.fromarray(GREY), "TIFF"), grey(GREY >> 8)),
    "16-bit grey TIFF, high byte first": (saved(Image.fromarray(GREY.astype(">u2")), "TIFF"), grey(GREY >> 8)),
    "16-bit grey TIFF, white is 0": (tiff_of_white_zero(Image.fromarray(GREY)), grey(255 - (GREY >> 8))),
    "12-bit grey TIFF": (tiff_of_12_bits(TWELVE), grey(TWELVE >> 4)),
    "8-bit grey TIFF, white is 0": (tiff_of_white_zero(Image.fromarray(SMALL[..., 0])), grey(255 - SMALL[..., 0])),
    "16-bit PGM": (b"P5 7 5 65535\n" + GREY.astype(">u2").tobytes(), grey(GREY >> 8)),
    "10-bit PGM": (b"P5 7 5 1023\n" + (GREY >> 6).astype(">u2").tobytes(), grey(GREY >> 8)),
    "16-bit colours": (png(2, COLOURS[..., :3]), SMALL[..., :3]),
    "16-bit colours and alpha": (
        png(6, np.where(np.arange(4) == 3, 65535, COLOURS)),
        SMALL[..., :3],
    ),
    "16-bit grey and alpha": (png(4, np.where(np.arange(2) == 1, 0, COLOURS[..., :2])), np.full((5, 7, 3), WHITE)),
    "palette": (saved(PALE, "PNG"), PALETTE[INDEX]),
    "palette, one colour transparent": (
        saved(PALE, "PNG", transparency=2),
        np.where((INDEX == 2)[..., None], WHITE, PALETTE[INDEX]),
    ),
    "palette, every colour with its alpha": (
        saved(PALE, "PNG", transparency=bytes([255, 0, 128, 255])),
        over_white(PALETTE[INDEX], np.array([255, 0, 128, 255])[INDEX]),
    ),
    "GIF, one colour transparent": (
        saved(PALE, "GIF", transparency=1),
        np.where((INDEX == 1)[..., None], WHITE, PALETTE[INDEX]),
    ),
    "colours and alpha": (saved(Image.fromarray(SMALL), "PNG"), over_white(SMALL[..., :3], SMALL[..., 3])),
    "grey and alpha": (
        saved(Image.fromarray(SMALL[..., :2].copy(), "LA"), "PNG"),
        over_white(grey(SMALL[..., 0]), SMALL[..., 1]),
    ),
    "8-bit grey, one value transparent": (
        saved(Image.fromarray(SMALL[..., 0]), "PNG", transparency=int(SMALL[0, 0, 0])),
        grey(np.where(SMALL[..., 0] == SMALL[0, 0, 0], WHITE, SMALL[..., 0])),
    ),
    "1 bit": (saved(Image.fromarray(INDEX > 1), "PNG"), grey((INDEX > 1) * 255)),
    "CMYK TIFF": (
        saved(Image.fromarray(CMYK, "CMYK"), "TIFF"),
        (255.0 - CMYK[..., :3]) * (255.0 - CMYK[..., 3:]) / 255,
    ),
    "CMYK JPEG, inverted by Adobe's custom": (
        saved(Image.fromarray(np.full((16, 16, 4), [10, 200, 100, 50], np.uint8), "CMYK"), "JPEG", quality=100),
        np.full((16, 16, 3), [(255 - c) * 205 / 255 for c in (10, 200, 100)]),
    ),
    "an animation": (
        saved(
            Image.fromarray(SMALL[..., :3].copy()),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[Image.fromarray(SMALL[..., 1:].copy())],
        ),
        SMALL[..., :3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_right_values(kind: str) -> None:
    """To within 1 where shares of colours are rounded."""
    content, wanted = RIGHT[kind]
    found = np.asarray(picture(io.BytesIO(content), kind))
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= (1 if wanted.dtype.kind == "f" else 0)


TURNED: list[Callable[[np.ndarray], np.ndarray]] = [
    *(lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1]),
    *(lambda a: a.swapaxes(0, 1), lambda a: np.rot90(a, -1)),
    *(lambda a: a[::-1, ::-1].swapaxes(0, 1), lambda a: np.rot90(a, 1)),
]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_as_exif_says(kind: str) -> None:
    """Once, also where Pillow turns it by itself; damaged EXIF says nothing."""
    pixels = SMALL[..., :3].copy()
    more = {"lossless": True} if kind == "WEBP" else {}
    for way, turned in enumerate(TURNED, 1):
        exif = Image.Exif()
        exif[0x0112] = way
        found = picture(io.BytesIO(saved(Image.fromarray(pixels), kind, exif=exif, **more)), kind)
        assert np.array_equal(np.asarray(found), turned(pixels)), way
    if kind == "PNG":
        broken = saved(Image.fromarray(pixels), kind, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert np.array_equal(np.asarray(picture(io.BytesIO(broken), kind)), pixels)


def without_adobe() -> bytes:
    content = RIGHT["CMYK JPEG, inverted by Adobe's custom"][0]
    start = content.find(b"\xff\xee")
    return content[:start] + content[start + 2 + struct.unpack(">H", content[start + 2 : start + 4])[0] :]


PAGES = [Image.fromarray(SMALL[..., i].copy()) for i in range(3)]
REFUSED: dict[str, tuple[bytes, str]] = {
    "32-bit grey": (saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "32-bit numbers"),
    "floating point": (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "32-bit numbers"),
    "CMYK either way round": (without_adobe(), "no Adobe marker"),
    "16-bit colours, one transparent": (png(2, COLOURS[..., :3], tuple(map(int, COLOURS[0, 0, :3]))), "16 bits"),
    "several pages": (saved(PAGES[0], "TIFF", save_all=True, append_images=PAGES[1:]), "holds 3 pages"),
    "no image": (b"This is a letter.", "none that Pillow knows"),
    "a bomb": (png(0, np.zeros((1, 1), np.uint16)).replace(struct.pack(">II", 1, 1), struct.pack(">II", 65000, 65000)),
               "must have at most"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind: str) -> None:
    content, says = REFUSED[kind]
    if kind == "a bomb":  # its header is whole
        content = content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]
    with pytest.raises(ConfigurationError, match=says) as caught:
        picture(io.BytesIO(content), "holiday/7.png")
    assert str(caught.value).startswith("holiday/7.png must ") and len(caught.value.faults) == 1
    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "PPM", "WEBP", "TGA"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    """And not filled with grey."""
    content = saved(Image.fromarray(RNG.integers(0, 256, (60, 80, 3)).astype(np.uint8)), kind)
    cuts = np.linspace(0, len(content) * 0.98 - 40, 12).astype(int)
    for cut in cuts:
        with pytest.raises(ConfigurationError, match=r"^torn must be an image"):
            picture(io.BytesIO(content[:cut]), "torn")


def test_damaged_files_give_an_answer_or_an_error() -> None:
    """Of ours: 40 damages of every kind of file above."""
    ran = 0
    for content, _ in [*RIGHT.values(), *REFUSED.values()]:
        for _ in range(40):
            damaged = bytearray(content)
            for place in RNG.integers(0, min(len(damaged), 400), RNG.integers(1, 6)):
                damaged[place] = RNG.integers(0, 256)
            with suppress(ConfigurationError):
                assert picture(io.BytesIO(bytes(damaged)), "x").mode == "RGB"
            ran += 1
    assert ran == 30 * 40
