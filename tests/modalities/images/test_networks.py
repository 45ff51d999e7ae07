"""Reference networks: sizes, shapes, gradients, names."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities.images import networks

SIZES = {  # parameters and tensors for ten classes
    "digits_cnn": (1, 8, 141_930, 8),
    "cifar_net": (3, 32, 422_894, 22),
    "resnet20": (3, 32, 272_474, 65),
    "resnet18": (3, 32, 11_173_962, 62),
}


def test_all_networks_are_listed_here():
    assert set(SIZES) == set(networks.NETWORKS)


@pytest.mark.parametrize("name", SIZES)
def test_size_and_shapes(name):
    channels, size, parameters, tensors = SIZES[name]
    model = networks.build(name, classes=10, channels=channels)
    found = list(model.parameters())
    assert (sum(p.numel() for p in found), len(found)) == (parameters, tensors)
    logits = model(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in found)


@pytest.mark.parametrize("name", ["digits_cnn", "cifar_net", "resnet20"])
def test_other_numbers_of_classes_and_channels(name):
    channels = 4
    model = networks.build(name, classes=7, channels=channels).eval()
    size = 8 if name == "digits_cnn" else 32
    images = torch.randn(3, channels, size, size)
    assert model(images).shape == (3, 7)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-5)


def test_names():
    with pytest.raises(ConfigurationError, match="Did you mean 'resnet20'"):
        networks.build("resnet-20", classes=10)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_missing_extra_is_named(library, monkeypatch):
    for module in ("timm", "torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=r"needs (timm|torchvision\.models).*pip install 'unweave\[timm\]'"):
        networks.build(f"{library}:resnet18", classes=10)


def test_models_of_timm_and_torchvision(monkeypatch):
    timm = SimpleNamespace(
        is_model=lambda name: name == "vit",
        list_models=lambda: ["vit"],
        create_model=lambda name, **sizes: (name, sizes),
    )
    models = SimpleNamespace(list_models=lambda: ["alexnet"], get_model=lambda name, **sizes: (name, sizes))
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert networks.build("timm:vit", classes=7, channels=1) == ("vit", {"num_classes": 7, "in_chans": 1})
    assert networks.build("torchvision:alexnet", classes=7) == ("alexnet", {"num_classes": 7})
    for name, words in (
        ("timm:vitt", "Did you mean 'vit'"),
        ("torchvision:alexnett", "Did you mean 'alexnet'"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            networks.build(name, classes=7)
    with pytest.raises(ConfigurationError, match="3 channels, the images have 1"):
        networks.build("torchvision:alexnet", classes=7, channels=1)


def test_a_classifier_of_transformers_by_its_configuration(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.ViTConfig(image_size=8, patch_size=4, **sizes).save_pretrained(tmp_path)
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    logits = networks.build(f"transformers:{tmp_path}", classes=7, channels=1)(images)
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    about = networks.about(f"transformers:{tmp_path}")
    transformers.ViTConfig(image_size=8, patch_size=2, **sizes).save_pretrained(tmp_path)
    assert about != networks.about(f"transformers:{tmp_path}") != {} == networks.about("resnet20"), "another network"
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for name in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ConfigurationError, match=r"expected a folder with the config\.json of an image classifier"):
            networks.build(f"transformers:{name}", classes=7)
