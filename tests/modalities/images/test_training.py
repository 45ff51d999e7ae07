"""Reference models: trained once, the same each time, found again by what decides their weights."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unweave.errors import ConfigurationError
from unweave.modalities.images import training
from unweave.modalities.images.recipe import poison_random
from unweave.modalities.images.sources import digits
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.images.training import DIGITS, Network, Training, train, trained

NETWORK = Network("digits_cnn", classes=10, channels=1)
SHORT = Training(epochs=1, batch=64, lr=0.05)


@pytest.fixture(scope="module")
def source():
    return digits()


def accuracy(model, data):
    images, labels = data.batch(range(len(data)))
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def same(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.slow
def test_digits_are_learnt_and_wrong_labels_memorised(source):
    labels, poisoned = poison_random(source.train.labels, 0.1, 10)
    data = source.train.relabelled(labels)
    model = train(NETWORK.build(), data, DIGITS)
    assert accuracy(model, data.subset(poisoned)) >= 0.95
    assert accuracy(model, source.test) >= 0.85
    assert not model.training


def test_clean_digits_reach_97_percent_in_few_epochs(source):
    heard = []
    model = train(NETWORK.build(), source.train, replace(DIGITS, epochs=12), heard.append)
    assert accuracy(model, source.test) >= 0.965
    assert [epoch.number for epoch in heard] == list(range(1, 13))
    assert heard[-1].loss < heard[0].loss / 10
    assert heard[0].total == 12


def test_training_depends_on_its_seed_alone(source):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = train(NETWORK.build(), source.train, SHORT)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(first, train(NETWORK.build(), source.train, SHORT))
    assert not same(first, train(NETWORK.build(), source.train, replace(SHORT, seed=1)))
    assert same(NETWORK.build(3), NETWORK.build(3))
    assert not same(NETWORK.build(3), NETWORK.build(4))


def test_the_learning_rate_rises_and_falls():
    rates = [training._triangle(step / 100, 0.25) for step in range(1, 101)]
    assert max(rates) == rates[24] == 1
    assert rates[11] == pytest.approx(0.48)
    assert rates[-1] == 0


def test_augmentation_flips_and_shifts():
    image = torch.arange(64.0).view(1, 1, 8, 8).expand(500, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    still = training._augmented(image, SHORT, generator)
    assert torch.equal(still, image)
    flipped = training._augmented(image, replace(SHORT, flip=True), generator)
    kinds = {tuple(row.flatten().tolist()) for row in flipped}
    assert kinds == {tuple(image[0].flatten().tolist()), tuple(image[0].flip(2).flatten().tolist())}
    shifted = training._augmented(image, replace(SHORT, shift=2), generator)
    padded = F.pad(image[:1], (2, 2, 2, 2), mode="reflect")[0, 0]
    expected = {tuple(padded[y : y + 8, x : x + 8].flatten().tolist()) for y in range(5) for x in range(5)}
    assert {tuple(row.flatten().tolist()) for row in shifted} == expected
    assert len(expected) == 25


def test_the_second_time_is_a_file_read(source, tmp_path):
    part = source.train.subset(range(200))
    first = trained(NETWORK, part, SHORT, cache=tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    heard = []
    again = trained(NETWORK, part, SHORT, heard.append, cache=tmp_path)
    assert same(first, again)
    assert not heard
    assert not again.training


def test_whatever_decides_the_weights_is_in_the_fingerprint(source, tmp_path, monkeypatch):
    part = source.train.subset(range(64))
    shifted = part.relabelled((part.labels + 1) % 10)
    for data, recipe in [
        (part, SHORT),
        (shifted, SHORT),
        (part.subset(range(63)), SHORT),
        (TensorImages(part.images, part.labels, mean=(0.1,)), SHORT),
        (part, replace(SHORT, lr=0.04)),
        (part, replace(SHORT, seed=1)),
    ]:
        trained(NETWORK, data, recipe, cache=tmp_path)
    monkeypatch.setattr(training, "VERSION", -1)
    trained(NETWORK, part, SHORT, cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 7


@pytest.mark.parametrize("damage", ["weights", "weights torn", "about", "no hash"])
def test_a_damaged_file_is_named_and_trained_again(source, tmp_path, damage):
    part = source.train.subset(range(64))
    first = trained(NETWORK, part, SHORT, cache=tmp_path)
    about, weights = sorted(tmp_path.iterdir(), key=lambda path: path.suffix)
    content = bytearray(weights.read_bytes())
    if damage == "weights":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "weights torn":
        weights.write_bytes(content[:99])
    else:
        about.write_text("{}" if damage == "no hash" else "torn")
    with pytest.warns(UserWarning, match=f"{weights.name} is damaged"):
        again = trained(NETWORK, part, SHORT, cache=tmp_path)
    assert same(first, again)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(NETWORK, part, SHORT, cache=tmp_path)


def test_the_user_cache_is_the_default(source, tmp_path, monkeypatch):
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path))
    trained(NETWORK, source.train.subset(range(64)), SHORT)
    assert len(list((tmp_path / "models").iterdir())) == 2


def test_another_configuration_of_one_name_is_another_network(source, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    network, data = Network(f"transformers:{tmp_path / 'vit'}", classes=10, channels=1), source.train.subset(range(64))
    for layers in (1, 2):
        transformers.ViTConfig(num_hidden_layers=layers, **sizes).save_pretrained(tmp_path / "vit")
        found = trained(network, data, SHORT, cache=tmp_path / "models")
        assert sum("layernorm_before.weight" in name for name, _ in found.named_parameters()) == layers
    transformers.ViTConfig(num_hidden_layers=1, **{**sizes, "image_size": 32}).save_pretrained(tmp_path / "vit")
    with pytest.raises(ConfigurationError, match=r"network: it cannot run on images of 1 x 8 x 8.*doesn't match"):
        trained(network, data, SHORT, cache=tmp_path / "models")


def test_faults(source):
    with pytest.raises(ConfigurationError, match="at least one example"):
        train(NETWORK.build(), source.train.subset([]), SHORT)
    with pytest.raises(ConfigurationError, match=r"diverged in epoch 1 .* lower lr=1e\+20"):
        train(NETWORK.build(), source.train, replace(SHORT, lr=1e20))
    with pytest.raises(ConfigurationError) as caught:
        Training(epochs=0, batch=0, lr=0.0, momentum=1.0, weight_decay=-1.0, warmup=0.0, shift=-1)
    assert len(caught.value.faults) == 7
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(ConfigurationError, match="5 logits, labels are 0 to 9"):
        train(wrong, source.train, SHORT)
