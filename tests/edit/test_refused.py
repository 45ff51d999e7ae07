"""What the edit refuses before a weight moves, each with what to do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.edit._nets import (
    CLASSES,
    Rows,
    attending,
    called,
    class_task,
    class_unet,
    drawn,
    text_task,
    text_unet,
    texts,
)
from unweave.edit import uce
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.tasks import Classification

TEXTS = (Rows(texts(1)), Rows(texts(4)[1:]))
IDS = torch.arange(CLASSES)
SETS = (Rows(IDS[:1]), Rows(IDS[1:]))


def refused(model: nn.Module, *given: Any, told: str, **settings: Any) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigurationError, match=told):
        uce(model, *given, **settings)
    assert all(each.equal(before[name]) for name, each in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"guide": 3}, r"guide must be one condition like those that are edited, embeddings \[3, 6\], or one for each"),
        ({"guide": texts(3)[1:]}, r"of the 1; found embeddings \[2, 3, 6\]"),
        ({"erase": texts(3)[1, 1:]}, r"guide \(the null condition of the task\) must be .* found embeddings \[3, 6\]"),
        ({"guide": texts(1)[0]}, "guide: 1 of these conditions shall be edited as well"),
        ({"preserve": texts(2)}, "preserve: 1 of these conditions shall be edited as well"),
        ({"preserve": [1, 2]}, r"preserve must be of the kind of what is edited, embeddings \[3, 6\]"),
        ({"preserve": torch.ones(2, 5)}, "preserve: attn2.to_k reads conditions of width 6; found 5"),
        ({"tokens": "last", "guide": torch.cat((-texts(1)[0, :2], texts(1)[0, 2:]))}, "tokens='last': the last posi"),
    ],
)  # fmt: skip
def test_conditions_of_a_text_model(settings: dict[str, Any], told: str) -> None:
    refused(attending(), text_task(call=called), *TEXTS, told=told, **settings)


def test_no_guide_and_no_null() -> None:
    told = "uce without a guide needs the condition that means none"
    refused(attending(), text_task(call=called, null=None), *TEXTS, told=told)
    refused(class_unet(), class_task(null=None), *SETS, told=told)


def test_a_condition_in_both_sets() -> None:
    own, task = attending(), text_task(call=called)
    refused(own, task, Rows(texts(2)), Rows(texts(3)[1:]), told="preserve: 1 of these conditions shall be edited")
    told = r"preserve: 2 of these conditions \(0, 2\) shall be edited as well, and an edit of conditions tells no two"
    refused(class_unet(), class_task(), Rows(IDS[[0, 2]]), Rows(IDS), told=told)


def test_conditions_are_compared_by_value_whatever_their_precision() -> None:
    half = texts(1).bfloat16()
    refused(attending(), text_task(call=called), Rows(half), Rows(half.double()), told="shall be edited as well")


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"guide": CLASSES + 1}, r"class_embedding knows 5 conditions \(0 to 4\); found 5"),
        ({"rounds": 1}, "rounds=1 is for embeddings, and these are classes: leave it out"),
        ({"erase": [3]}, r"preserve: 1 of these conditions \(3\) shall be edited as well"),
        ({"guide": 0}, r"guide: 1 of these conditions \(0\) shall be edited as well"),
    ],
)
def test_classes(settings: dict[str, Any], told: str) -> None:
    refused(class_unet(), class_task(), *SETS, told=told, **settings)


def test_models_without_such_layers() -> None:
    task = text_task(call=called)
    refused(nn.Linear(2, 2), task, *TEXTS, told=r"no module \*attn2.to_k or \*attn2.to_v")
    refused(attending(), class_task(), *SETS, told=r"no module \*class_embedding or \*class_embedder.embedding_table")
    told = "class_embedding must be a torch.nn.Embedding .* found TimestepEmbedding"
    refused(class_unet(class_embed_type="timestep", num_class_embeds=None), class_task(), *SETS, told=told)
    odd = attending()
    odd.attn2["to_v"] = nn.Sequential(nn.Linear(6, 4))
    refused(odd, task, *TEXTS, told="attn2.to_v must be a torch.nn.Linear .* found Sequential")


def test_frozen_and_adapted_matrices() -> None:
    task = text_task(call=called)
    refused(attending().requires_grad_(False), task, *TEXTS, told=r"all 2 weights that uce could edit are frozen")
    peft = pytest.importorskip("peft")
    model = text_unet()
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["to_k", "to_v"]))
    refused(model, text_task(), *TEXTS, told=r"attn2.to_k carries adapters \(LoRA\), .* merge them first")


def test_a_model_whose_adapters_were_merged_is_edited() -> None:
    """And so is one whose adapters stand elsewhere, where its own matrices may move."""
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(attending(), peft.LoraConfig(r=2, target_modules=["query"]))
    for name, weight in model.named_parameters():
        weight.requires_grad_("attn2" in name)
    assert len(uce(model, text_task(call=called), *TEXTS).change) == 2
    merged = peft.get_peft_model(attending(), peft.LoraConfig(r=2, target_modules=["to_k"])).merge_and_unload()
    assert len(uce(merged.requires_grad_(True), text_task(call=called), *TEXTS).change) == 2


def test_matrices_that_are_not_given_the_condition() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.then = nn.Linear(6, 6), attending()

        def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return self.then(x, t, self.first(condition))

    class Unused(Projected):
        def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return x * condition.mean() * self.first.bias.mean()

    task = text_task(call=called)
    refused(Projected(), task, *TEXTS, told=r"then.attn2.to_k must be given the condition as it is, .* \[3, 6\], and")
    refused(Unused(), task, *TEXTS, told="then.attn2.to_k has no part in the model's forward")


def test_fused_projections_and_projected_texts_of_diffusers() -> None:
    fused = text_unet()
    fused.fuse_qkv_projections()
    refused(fused, text_task(), *TEXTS, told="attn2.to_k has no part in .* undo it .unfuse_qkv_projections")
    fused.unfuse_qkv_projections()
    assert len(uce(fused, text_task(), *TEXTS).change) == 8
    model = text_unet(encoder_hid_dim=6, encoder_hid_dim_type="text_proj")
    refused(model, text_task(), *TEXTS, told="attn2.to_k must be given the condition as it is")


def test_the_width_of_a_text_unet() -> None:
    refused(
        text_unet(cross_attention_dim=8), text_task(), *TEXTS, told="erase: .*attn2.to_k reads conditions of width 8"
    )


def test_data_that_cannot_be_read() -> None:
    own, task = attending(), text_task(call=called)
    refused(own, task, [], TEXTS[1], told="forget is empty")
    refused(own, task, TEXTS[0], [], told="retain is empty")
    broken = texts(2)
    broken[1, 0, 0] = torch.nan
    refused(own, task, TEXTS[0], Rows(broken), told="retain: there are conditions with values that are not finite")
    longer = [{"x0": torch.zeros(1, 1, 8, 8), "condition": torch.ones(1, n, 6)} for n in (3, 4)]
    refused(
        own, task, TEXTS[0], longer, told=r"retain: all conditions must have one shape; found \[3, 6\] and \[4, 6\]"
    )
    refused(own, task, [torch.ones(2, 3)], TEXTS[1], told="reads batches")


@pytest.mark.parametrize(
    "given", [[], "3", [-1], [True], torch.tensor([-1]), torch.ones(4), torch.full((1, 2), torch.nan)]
)
@pytest.mark.parametrize("name", ["erase", "preserve"])
def test_what_conditions_cannot_be(name: str, given: Any) -> None:
    refused(attending(), text_task(call=called), *TEXTS, told=f"{name}(:| must be)", **{name: given})


def test_faults_come_together() -> None:
    odd: dict[str, Any] = {
        "lamb": 0,
        "erase_scale": -1.0,
        "preserve_scale": -0.1,
        "rounds": 1.5,
        "ridge": 0,
        "batch": 0,
    }
    odd |= {"tokens": "first", "erase": [], "guide": -1, "preserve": "x"}
    with pytest.raises(ConfigurationError) as caught:
        uce(attending(), text_task(), *TEXTS, **odd)
    assert {text.split()[0] for text in caught.value.faults} == set(odd)


def test_other_tasks() -> None:
    with pytest.raises(UnsupportedError, match=r"uce is about diffusion models and needs tasks\.Diffusion"):
        uce(attending(), Classification(), *TEXTS)


def test_the_check_of_the_path_leaves_no_trace() -> None:
    """A pass with dropout and buffers is made in between."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.norm, self.drop = attending(), nn.BatchNorm2d(1), nn.Dropout(0.5)

        def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return self.net(self.drop(self.norm(x)), t, condition)

    model = Noisy().train()
    uce(model, text_task(call=called), *TEXTS)
    assert model.training and model.drop.training and int(model.norm.num_batches_tracked) == 0
    assert drawn(model.eval(), text_task(call=called), texts(2)).isfinite().all()
