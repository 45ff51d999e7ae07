"""Which folders are classes and which files are images; whatever is left out that could be missed is said."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unweave.errors import ConfigurationError
from unweave.modalities.images.image_folder import image_folder
from unweave.modalities.images.tensors import Source

Image: Any = pytest.importorskip("PIL.Image")
PIXELS = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def write(folder: Path, count: int = 6, ending: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(PIXELS[number]).save(folder / f"{number}.png")
        (folder / f"{number}.png").rename(folder / f"{number}{ending}")
    return folder


def quiet(folder: Path) -> Source:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return image_folder(folder)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        write(tmp_path / "pets" / name)
    return tmp_path / "pets"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("test", 3)):
        for name in ("cat", "dog"):
            write(tmp_path / "parts" / part / name, count)
    return tmp_path / "parts"


def test_what_systems_and_tools_leave_behind_changes_nothing(pets: Path, parts: Path) -> None:
    """Hidden folders with images in them, empty ones, and files beside and among the images."""
    before = quiet(pets).fingerprint, quiet(parts).fingerprint
    for root in (pets, parts / "train", parts / "test", pets / "cat", parts / "train" / "dog"):
        for name in (".ipynb_checkpoints", "__MACOSX", ".thumbnails", ".git/objects"):
            write(root / name, 2)
        (root / "aaa-empty" / "deeper").mkdir(parents=True)
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._cat.jpg", "notes.txt", "labels.csv", "a.PNG.part"):
            (root / name).write_bytes(b"no image")
    for root in (pets, parts / "train"):
        (root / "000-only-junk").mkdir()
        (root / "000-only-junk" / "Thumbs.db").write_bytes(b"")
        (root / "cat" / "a.png").mkdir()
    shutil.rmtree(parts / "train" / "aaa-empty")  # of a namesake in test/ it would be said
    found = quiet(pets), quiet(parts)
    assert (found[0].fingerprint, found[1].fingerprint) == before
    assert found[0].classes == found[1].classes == ("cat", "dog")
    assert found[0].train.labels.unique().tolist() == [0, 1]


def test_images_at_any_depth_and_with_any_case_of_their_endings(pets: Path) -> None:
    for old, new in (("0.png", "0.PNG"), ("1.png", "one.Jpeg")):
        (pets / "cat" / old).rename(pets / "cat" / new)
    (pets / "dog" / "old" / "older").mkdir(parents=True)
    (pets / "dog" / "2.png").rename(pets / "dog" / "old" / "older" / "2.pnm")
    source = quiet(pets)
    assert len(source.train) + len(source.test) == 12 and source.classes == ("cat", "dog")


def broken_link(root: Path) -> None:
    (root / "train" / "cat" / "9.png").symlink_to(root / "gone.png")


def bytes_name(root: Path) -> None:
    try:
        os.mkdir(os.fsencode(root / "train") + b"/k\xe4fer")
    except OSError:
        pytest.skip("names here are UTF-8 always")
    for number in range(2):
        Image.fromarray(PIXELS[number]).save(os.fsencode(root / "train") + b"/k\xe4fer/%d.png" % number)


def renamed(old: str, new: str) -> Callable[[Path], Any]:
    return lambda root: (root / old).rename(root / new)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a class in test alone": (lambda root: write(root / "test" / "ant", 1), "test/ant holds images, and no image of"),
    "a class whose training images are gone": (
        lambda root: [path.unlink() for path in (root / "train" / "cat").iterdir()] and write(root / "train" / "ant"),
        "test/cat holds images, and no image of",
    ),
    "validation in the place of test": (renamed("test", "val"), "found train/, val/ with folders of images"),
    "capitals": (
        lambda root: (renamed("test", "Test")(root), renamed("train", "Train")(root)),
        "found Test/, Train/ with folders of images",
    ),
    "no test": (lambda root: shutil.rmtree(root / "test"), "found train/ with folders of images"),
    "test without images": (
        lambda root: [path.unlink() for path in (root / "test").rglob("*.png")],
        "test must hold one folder per class, at least two, with images in them",
    ),
    "one class": (lambda root: [shutil.rmtree(root / p / "dog") for p in ("train", "test")], "two, found cat"),
    "a link to nowhere": (broken_link, "train/cat/9.png must be an image"),
    "a name that is no UTF-8": (bytes_name, "must be a name in UTF-8"),
    "an ending alone": (lambda root: (root / "train" / "cat" / "9.gif").write_bytes(b"GIF87a"), "cat/9.gif must be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, parts: Path) -> None:
    change, says = REFUSED[name]
    change(parts)
    with pytest.raises(ConfigurationError) as caught:
        quiet(parts)
    assert says in str(caught.value) and len(caught.value.faults) == 1


def test_so_many_faults_are_named_and_the_others_counted(pets: Path) -> None:
    for number in range(27):
        (pets / "dog" / f"torn-{number}.png").write_bytes(b"\x89PNG")
    with pytest.raises(ConfigurationError) as caught:
        quiet(pets)
    assert len(caught.value.faults) == 21 and caught.value.faults[-1] == "and 7 more images that cannot be read"


SAID: dict[str, tuple[Callable[[Path], Any], str, tuple[int, int]]] = {
    "a class in train alone": (
        lambda root: shutil.rmtree(root / "test" / "dog"),
        "no image of dog is left to test with",
        (12, 3),
    ),
    "an empty class of both parts": (
        lambda root: [(root / part / "eel").mkdir() for part in ("train", "test")],
        "no image of eel, in train/ nor in test/",
        (12, 6),
    ),
    "a folder with files and without images": (
        lambda root: write(root / "train" / "bat", 4, ".txt"),
        "train/bat (4 files)",
        (12, 6),
    ),
    "pictures of formats that are not read": (
        lambda root: [(root / "train" / "dog" / f"{n}.HEIC").write_bytes(b"ftypheic") for n in range(3)],
        "their formats are not read: 3 .heic",
        (12, 6),
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_said(name: str, parts: Path) -> None:
    change, says, sizes = SAID[name]
    change(parts)
    with pytest.warns(UserWarning) as told:
        source = image_folder(parts)
    assert says in str(told[0].message) and len(told) == 1
    assert Path(told[0].filename).name == Path(__file__).name, "it points at the call"
    assert (len(source.train), len(source.test)) == sizes and source.classes == ("cat", "dog")
    assert torch.equal(source.test.images[0], torch.from_numpy(PIXELS[0]).permute(2, 0, 1))


def test_too_few_images_to_divide_are_said(pets: Path) -> None:
    write(pets / "eel", 2)
    with pytest.warns(UserWarning, match="no image of eel is left to test with"):
        assert image_folder(pets).classes == ("cat", "dog", "eel")
