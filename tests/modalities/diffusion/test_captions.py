"""Pictures with captions: what is read, how it is divided and asked for, and how it is told what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.modalities.diffusion._pictures import RECIPE
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.diffusion.captions import FILE, captioned, has_captions

TEXTS = ("a cat", "a dog", "a cat on a mat")
CAPTIONS = RECIPE.replace("{class: top}", "{prompts: a cat}")


def written(folder: Path, lines: list[object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return folder


def picture(folder: Path, name: str, level: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (level, level // 2, 255 - level)).save(folder / name)
    return name


def pictures(folder: Path, each: int = 10, first: int = 0) -> Path:
    """So many of each text, every one of another colour."""
    lines: list[object] = []
    for number in range(each * len(TEXTS)):
        name = picture(folder, f"{number}.png", first + number)
        lines.append({"file_name": name, "text": TEXTS[number % len(TEXTS)], "more": 1})
    return written(folder, lines)


def test_captions_are_classes_and_a_fifth_of_each_is_for_tests(tmp_path: Path) -> None:
    source = captioned(pictures(tmp_path / "p"), 8)
    assert source.classes == TEXTS and source.train.images.shape == (24, 3, 8, 8)
    assert source.train.labels.bincount().tolist() == [8, 8, 8] and source.test.labels.bincount().tolist() == [2, 2, 2]
    again = captioned(tmp_path / "p", 8)
    assert torch.equal(source.train.images, again.train.images)
    assert captioned(tmp_path / "p", 16).train.images.shape[2:] == (16, 16)


def test_pictures_with_captions_of_their_own_are_divided_together(tmp_path: Path) -> None:
    names = [picture(tmp_path, f"{number}.png", 5 * number) for number in range(20)]
    written(tmp_path, [{"file_name": name, "text": f"picture {name}"} for name in names])
    source = captioned(tmp_path, 8)
    assert len(source.classes) == 20 and (len(source.train), len(source.test)) == (16, 4)
    assert not set(source.train.labels.tolist()) & set(source.test.labels.tolist())


def test_parts_that_are_given_are_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "train"), pictures(tmp_path / "test", each=2, first=100)
    assert has_captions(tmp_path)
    source = captioned(tmp_path, 8)
    assert (len(source.train), len(source.test)) == (30, 6)
    (tmp_path / "test" / FILE).unlink()
    with pytest.raises(ConfigurationError, match=r"test/metadata\.jsonl is missing"):
        captioned(tmp_path, 8)


def gone(folder: Path) -> None:
    (folder / "3.png").unlink()


def bare(folder: Path) -> None:
    picture(folder, "new.png", 99)


def changed(line: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / FILE).read_text().splitlines()
        written(folder, [*lines[:-1], line])

    return change


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a caption without a file": (gone, "metadata.jsonl:4: there is no file"),
    "a file without a caption": (bare, "new.png has no caption in"),
    "two captions": (changed({"file_name": "0.png", "text": "a dog"}), "0.png has 2 captions"),
    "no caption": (changed({"file_name": "29.png"}), 'metadata.jsonl:30 must be {"file_name": ..., "text": ...}'),
    "an empty caption": (changed({"file_name": "29.png", "text": " "}), "metadata.jsonl:30 must be"),
    "torn JSON": (changed("{"), "metadata.jsonl:30 must be JSON"),
    "no picture": (lambda f: (f / "3.png").write_text("x"), "3.png must be an image"),
    "one caption": (
        lambda f: written(f, [{"file_name": f"{n}.png", "text": "a"} for n in range(30)]) and None,
        "two captions at least",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path, name: str) -> None:
    spoil, told = REFUSED[name]
    spoil(pictures(tmp_path / "p"))
    with pytest.raises(ConfigurationError) as refused:
        captioned(tmp_path / "p", 8)
    assert told in str(refused.value) and len(refused.value.faults) == 1


def made(folder: Path, text: str) -> str:
    (folder / "recipe.yaml").write_text(text)
    return job(read(folder / "recipe.yaml")).text


def test_requests_name_captions_and_patterns(tmp_path: Path) -> None:
    pictures(tmp_path / "pictures")
    for wanted, told in (
        ("{prompts: a cat}", "prompt a cat"),
        ("{prompts: '*CAT*'}", "prompt a cat, a cat on a mat"),
        ("{prompts: [a dog, '* mat']}", "prompt a dog, a cat on a mat"),
        ("{class: a dog}", "class a dog"),
    ):
        assert made(tmp_path, RECIPE.replace("{class: top}", wanted)) == told
    (tmp_path / "recipe.yaml").write_text(CAPTIONS)
    split = job(read(tmp_path / "recipe.yaml")).split
    assert (len(split.forget), len(split.retain)) == (8, 16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CAPTIONS.replace("a cat", "a cow"), "no prompt is 'a cow', or like it. Did you mean 'a dog'?"),
        (CAPTIONS.replace("a cat", "'*'"), "retain"),
        (CAPTIONS.replace("prompts: a cat", "prompts: a cat, class: a dog"), "class and prompts"),
        (CAPTIONS.replace("size: 8", "size: 8, images: 50"), "are of drawn_concepts alone"),
        (CAPTIONS.replace("size: 8", "size: 8, prompt: a photo"), "{class}"),
        (CAPTIONS.replace("evaluation: {", "evaluation: {guidance: 2, ").replace("ema: 0.9", "ema: 0.9, dropout: 0.0"),
         "always had a condition"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_told(tmp_path: Path, text: str, words: str) -> None:
    pictures(tmp_path / "pictures")
    with pytest.raises(ConfigurationError) as refused:
        made(tmp_path, text)
    assert words in str(refused.value)


def test_a_judge_needs_pictures_of_every_caption(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    lines = (folder / FILE).read_text().splitlines()
    written(folder, [*lines, json.dumps({"file_name": picture(folder, "rare.png", 200), "text": "a rare bird"})])
    with pytest.raises(ConfigurationError, match=r"found fewer of 1, such as 'a rare bird'.*judge: none"):
        made(tmp_path, CAPTIONS)
    assert made(tmp_path, CAPTIONS.replace("looks: 2", "looks: 2, judge: none")) == "prompt a cat"


def test_a_picture_on_both_sides_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    for number in range(1, 30, 3):  # every dog is a cat
        shutil.copy(folder / f"{number - 1}.png", folder / f"{number}.png")
    with pytest.raises(ConfigurationError) as refused:
        made(tmp_path, CAPTIONS)
    assert "forget and retain set must share no picture" in str(refused.value)
