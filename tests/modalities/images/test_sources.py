"""Sources: digits, CIFAR-10 in both layouts, image folders; damaged and hostile files are refused."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from unweave.errors import ConfigurationError
from unweave.modalities.images import sources as cifar
from unweave.modalities.images.sources import load, read_plain
from unweave.modalities.images.tensors import Source, TensorImages

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "cache"))


def images(count=6, **kwargs):
    return TensorImages(torch.from_numpy(PIXELS[:count]), torch.arange(count), **kwargs)


def test_batches_are_scaled_and_normalised():
    data = images(mean=cifar.MEAN, std=cifar.STD)
    pixels, labels = data.batch([4, 1, 1])
    expected = (torch.from_numpy(PIXELS[[4, 1, 1]]).double() / 255 - torch.tensor(cifar.MEAN)[:, None, None]) / (
        torch.tensor(cifar.STD)[:, None, None]
    )
    torch.testing.assert_close(pixels.double(), expected, rtol=1e-5, atol=1e-5)
    assert labels.tolist() == [4, 1, 1]
    image, label = data[4]
    assert torch.equal(image, pixels[0])
    assert label == 4
    loaded = next(iter(DataLoader(data, batch_size=3)))
    assert torch.equal(loaded[0], data.batch([0, 1, 2])[0])
    assert loaded[1].tolist() == [0, 1, 2]


def test_fingerprints_tell_contents_apart():
    changed = PIXELS[:6].copy()
    changed[5, 2, 31, 31] ^= 1
    kinds = [
        images(),
        images(5),
        images(mean=cifar.MEAN),
        images().relabelled([1, 0, 2, 3, 4, 5]),
        TensorImages(torch.from_numpy(changed), torch.arange(6)),
        images().subset([1, 0, 2, 3, 4, 5]),
    ]
    assert len({data.fingerprint() for data in kinds}) == len(kinds) == 6
    assert images().fingerprint() == images().fingerprint()


def test_bad_images_are_refused_with_all_faults():
    with pytest.raises(ConfigurationError) as caught:
        TensorImages(torch.full((2, 1, 4, 4), torch.nan), torch.zeros(3), mean=(0.0, 0.0), std=(1.0, 1.0))
    assert [fault.split()[0] for fault in caught.value.faults] == ["images", "labels", "mean", "std"]
    assert "NaN or infinity in 2 of 2" in caught.value.faults[0]
    with pytest.raises(ConfigurationError, match=r"found torch\.int64"):
        TensorImages(torch.zeros(2, 4, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ConfigurationError) as caught:
        Source(
            "mine",
            images(),
            TensorImages(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)),
            ("a", "b"),
        )
    assert len(caught.value.faults) == 3


def test_digits():
    source = load("digits")
    assert (len(source.train), len(source.test), source.channels, len(source.classes)) == (1297, 500, 1, 10)
    assert source.train.batch([0])[0].shape == (1, 1, 8, 8)
    assert source.train.images.min() == 0
    assert source.train.images.max() == 1
    shares = [torch.bincount(part.labels) / len(part) for part in (source.train, source.test)]
    assert (shares[0] - shares[1]).abs().max() < 0.002
    assert load("digits").fingerprint == source.fingerprint


def python_folder(folder, change=lambda content: content):
    folder.mkdir(parents=True)
    for number, name in enumerate([*cifar.BATCHES["train"], *cifar.BATCHES["test"]]):
        content = {b"data": PIXELS[2 * number : 2 * number + 2].reshape(2, -1), b"labels": [number, 9]}
        (folder / name).write_bytes(pickle.dumps(change(content)))


def test_cifar10_from_python_batches(tmp_path):
    python_folder(tmp_path / "root" / "cifar-10-batches-py")
    source = load("cifar10", tmp_path / "root")
    assert torch.equal(source.train.images, torch.from_numpy(PIXELS[:10]))
    assert torch.equal(source.test.images, torch.from_numpy(PIXELS[10:]))
    assert source.train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert load("cifar10", tmp_path / "root" / "cifar-10-batches-py").fingerprint == source.fingerprint


def parquet_folder(folder, bare):
    parquet, arrow, pillow = (pytest.importorskip(name) for name in ("pyarrow.parquet", "pyarrow", "PIL.Image"))
    folder.mkdir()
    for part, rows in (("train", range(10)), ("test", range(10, 12))):
        cells = []
        for row in rows:
            buffer = io.BytesIO()
            pillow.fromarray(PIXELS[row].transpose(1, 2, 0)).save(buffer, "PNG")
            cells.append(buffer.getvalue() if bare else {"bytes": buffer.getvalue(), "path": None})
        parquet.write_table(
            arrow.table({"image" if bare else "img": cells, "label": [row % 10 for row in rows]}),
            folder / f"{part}-00000.parquet",
        )


@pytest.mark.parametrize("bare", [True, False])
def test_cifar10_from_parquet_is_decoded_once(tmp_path, bare, monkeypatch):
    folder = tmp_path / "parquet"
    parquet_folder(folder, bare)
    source = load("cifar10", folder)
    assert torch.equal(source.train.images, torch.from_numpy(PIXELS[:10]))
    assert source.test.labels.tolist() == [0, 1]
    for kept in (tmp_path / "cache" / "data").iterdir():
        kept.write_bytes(kept.read_bytes()[:100])
    assert load("cifar10", folder).fingerprint == source.fingerprint
    monkeypatch.setattr(cifar, "_of_parquet", lambda paths: pytest.fail("decoded again"))
    assert load("cifar10", folder).fingerprint == source.fingerprint


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("harm",)


class Other:
    pass


def test_hostile_pickles_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = {
        "code": pickle.dumps({b"data": Hostile(), b"labels": []}),
        "global": b"cbuiltins\neval\n(S'1'\ntR.",
        "dotted": b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93.",
        "object": pickle.dumps(Other()),
        "torn": pickle.dumps(PIXELS)[:50],
        "empty": b"",
    }
    for name, content in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="refused"):
            read_plain(path)
    assert len(bad) == 6
    assert not (tmp_path / "harm").exists()
    for protocol in range(5):
        path.write_bytes(pickle.dumps({b"data": PIXELS, b"labels": [1, 2]}, protocol=protocol))
        assert np.array_equal(read_plain(path)[b"data"], PIXELS)


def test_cifar10_faults(tmp_path):
    with pytest.raises(ConfigurationError, match="found neither train"):
        load("cifar10", tmp_path)
    python_folder(tmp_path / "wrong", lambda content: {b"data": content[b"data"][:, :-1], b"labels": [1]})
    with pytest.raises(ConfigurationError, match="data_batch_1 must hold CIFAR-10's data"):
        load("cifar10", tmp_path / "wrong")
    pytest.importorskip("pyarrow")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load("cifar10", tmp_path / "torn")


def write_images(folder, classes, count):
    pillow = pytest.importorskip("PIL.Image")
    for label in classes:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pillow.fromarray(PIXELS[number].transpose(1, 2, 0)).save(folder / label / f"{number}.png")
        (folder / label / "notes.txt").write_text("not an image")


def test_image_folder(tmp_path):
    write_images(tmp_path / "flat", ("cat", "dog"), 10)
    source = load("image_folder", tmp_path / "flat")
    assert source.classes == ("cat", "dog")
    assert torch.bincount(source.train.labels).tolist() == [8, 8]
    assert torch.bincount(source.test.labels).tolist() == [2, 2]
    assert load("image_folder", tmp_path / "flat").fingerprint == source.fingerprint
    write_images(tmp_path / "parts" / "train", ("cat", "dog"), 3)
    write_images(tmp_path / "parts" / "test", ("cat", "dog"), 2)
    source = load("image_folder", tmp_path / "parts")
    assert (len(source.train), len(source.test)) == (6, 4)
    assert torch.equal(source.train.images[0], torch.from_numpy(PIXELS[0]))


def test_image_folder_faults(tmp_path):
    with pytest.raises(ConfigurationError, match="one folder per class"):
        load("image_folder", tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigurationError, match="found none"):
        load("image_folder", tmp_path)
    write_images(tmp_path / "c", ("x", "y"), 2)
    for name in ("x", "y"):
        (tmp_path / "c" / name / "0.png").write_bytes(b"torn")
    with pytest.raises(ConfigurationError) as caught:
        load("image_folder", tmp_path / "c")
    assert len(caught.value.faults) == 2


def test_names_and_paths(tmp_path):
    with pytest.raises(ConfigurationError, match="Did you mean 'cifar10'"):
        load("cifar_10")
    with pytest.raises(ConfigurationError, match="takes no path"):
        load("digits", tmp_path)
    with pytest.raises(ConfigurationError, match="set its path, found none"):
        load("cifar10")


def parquet_of(folder, cells, labels):
    parquet, arrow = (pytest.importorskip(name) for name in ("pyarrow.parquet", "pyarrow"))
    folder.mkdir()
    for part in ("train", "test"):
        parquet.write_table(arrow.table({"image": cells, "label": labels}), folder / f"{part}.parquet")
    return folder


def test_parquet_holds_the_values_that_its_images_stand_for(tmp_path):
    """The conversion of the image folder: 16-bit grey is not clipped, what shines through is white."""
    pillow = pytest.importorskip("PIL.Image")
    grey = PIXELS[0, 0].astype(np.uint16) * 256 + 7
    alpha = np.dstack([PIXELS[1].transpose(1, 2, 0), np.where(PIXELS[2, 0] > 99, 255, 0).astype(np.uint8)])
    cells = []
    for image in (pillow.fromarray(grey), pillow.fromarray(alpha)):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        cells.append(buffer.getvalue())
    source = load("cifar10", parquet_of(tmp_path / "kinds", cells, [1, 2]))
    assert np.array_equal(source.train.images[0].numpy(), np.repeat(PIXELS[:1, 0], 3, 0))
    assert np.array_equal(source.train.images[1].numpy(), np.where(PIXELS[2, 0] > 99, PIXELS[1], 255))
    for number, (bad, labels, says) in enumerate(
        [
            ([cells[0][:90], cells[1]], [1, 2], "row 0 must be an image"),
            ([cells[0], None], [1, 2], "row 1 must be an image"),
            (cells, [1.5, 2.0], "cannot be read"),
            (cells, [1, None], "cannot be read"),
            ([cells[0], png_of(pillow, 28)], [1, 2], r"row 1 must be of 32 x 32 pixels, found \[28, 28, 3\]"),
        ]
    ):
        with pytest.raises(ConfigurationError, match=says):
            load("cifar10", parquet_of(tmp_path / str(number), bad, labels))
    assert number == 4


def png_of(pillow, size):
    buffer = io.BytesIO()
    pillow.new("RGB", (size, size)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [np.full((2, 3072), 300), np.full((2, 3072), -1, np.int16), np.full((2, 3072), 0.5)], ids=str
)
def test_python_batches_of_other_numbers_are_refused(tmp_path, data):
    python_folder(tmp_path / "wrong", lambda content: {b"data": data, b"labels": [1, 2]})
    with pytest.raises(ConfigurationError, match="pixels must be whole numbers of 0 to 255"):
        load("cifar10", tmp_path / "wrong")
