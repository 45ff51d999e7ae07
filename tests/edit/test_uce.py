"""What the edit does to whole models: edited conditions are taken for their guide, the others for themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable

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
    dit,
    drawn,
    text_task,
    text_unet,
    texts,
)
from unweave.edit import closed_form, uce

FIRM = {"lamb": 1e-9}  # so little that rows which span less than the space are met


def moved(model: nn.Module, before: nn.Module) -> set[str]:
    now = dict(model.named_parameters())
    return {name for name, p in before.named_parameters() if not p.equal(now[name])}


def wide() -> tuple[Tensor, Tensor, Tensor]:
    """Erased text, preserved texts and null, all of whose tokens are independent."""
    found = torch.randn(4, 3, 16, generator=torch.Generator().manual_seed(1))
    found[:, 0] = found[0, 0]
    return found[:1], found[1:3], found[3]


def test_a_text_model_takes_the_edited_text_for_none_and_the_others_for_themselves() -> None:
    erase, keep, null = wide()
    model, task = text_unet(cross_attention_dim=16), text_task(null=null)
    before = copy.deepcopy(model)
    found = uce(model, task, Rows(erase, 5), Rows(keep, 4), **FIRM)
    every = torch.cat((erase, keep, null[None]))
    was, now = drawn(before, task, every), drawn(model, task, every)
    torch.testing.assert_close(now[0], was[3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(now[1:], was[1:], rtol=1e-4, atol=1e-5)
    assert (was[0] - was[3]).abs().max() > 1e-3
    ends = (".attn2.to_k.weight", ".attn2.to_v.weight")
    wanted = {name for name, _ in model.named_parameters() if name.endswith(ends)}
    assert moved(model, before) == wanted == {f"{name}.weight" for name in found.change}
    assert len(wanted) == 2 * 4  # of a block down, one in the middle and two up
    assert all(0 < each < 2 for each in found.change.values())
    assert (found.edited, found.preserved) == (2, 9)
    assert found.left < 1e-8


def test_any_module_with_such_maps_is_edited_by_the_closed_form() -> None:
    model, task = attending(bias=True), text_task(call=called)
    before, every = copy.deepcopy(model), texts(5)
    erase, keep, null = every[:1], every[1:4], every[4]
    found = uce(model, task, Rows(erase, 3), Rows(keep, 3), lamb=0.2, erase_scale=2.0, preserve_scale=0.5)
    preserved = torch.cat((keep.flatten(0, 1), null))
    for name in ("to_k", "to_v"):
        expected = closed_form(
            before.attn2[name].weight, erase[0, 1:], null[1:], preserved, lamb=0.2, erase_scale=2.0, preserve_scale=0.5
        )
        torch.testing.assert_close(model.attn2[name].weight.double(), expected, rtol=0, atol=1e-7)
        assert model.attn2[name].bias.equal(before.attn2[name].bias)
    assert 0 < found.left < 1


def test_the_last_tokens_alone() -> None:
    model, before, every = attending(), attending(), texts(5)
    found = uce(model, text_task(call=called), Rows(every[:2]), Rows(every[2:4]), tokens="last")
    null, last = every[4], every[:, -1]
    expected = closed_form(before.attn2["to_k"].weight, last[:2], null[-1:].expand(2, -1), last[2:])
    torch.testing.assert_close(model.attn2["to_k"].weight.double(), expected, rtol=0, atol=1e-7)
    assert (found.edited, found.preserved) == (2, 3)


def test_what_is_given_stands_for_what_is_read() -> None:
    """Sets whose conditions are others are not asked; chosen tokens are what the text's are."""
    every, task = texts(5), text_task(call=called)
    erase, keep, null = every[:1], every[1:4], every[4]
    read, given, chosen = attending(), attending(), attending()
    also = torch.cat((keep, null[None]))
    uce(read, task, Rows(erase), Rows(keep))
    other = Rows(texts(2, seed=5))
    uce(given, text_task(call=called, null=None), other, other, erase=erase, guide=null, preserve=also)
    uce(chosen, task, other, other, erase=erase[0, 1:], guide=null[1:], preserve=also.flatten(0, 1))
    for each in (given, chosen):
        torch.testing.assert_close(each.attn2["to_k"].weight, read.attn2["to_k"].weight)
    assert moved(read, attending()) == {"attn2.to_k.weight", "attn2.to_v.weight"}


def test_one_guide_for_each() -> None:
    every, model, task = torch.randn(4, 1, 6), attending(), text_task(call=called, null=None)
    other = Rows(texts(2, seed=5))
    uce(model, task, other, other, erase=every[:2], guide=every[2:], preserve=every[2:], **FIRM)
    before = attending()
    for e, g in ((0, 2), (1, 3), (2, 2), (3, 3)):
        torch.testing.assert_close(model.attn2["to_v"](every[e]), before.attn2["to_v"](every[g]), rtol=1e-4, atol=1e-5)


def test_only_what_may_move_is_edited() -> None:
    model, task = attending(), text_task(call=called)
    model.attn2["to_k"].requires_grad_(False)
    found = uce(model, task, Rows(texts(1)), Rows(texts(4)[1:]))
    assert list(found.change) == ["attn2.to_v"]
    assert moved(model, attending()) == {"attn2.to_v.weight"}


def test_tied_matrices_are_edited_once() -> None:
    once, tied = attending(), attending()
    tied.attn2["to_v"].weight.data = tied.attn2["to_k"].weight.data
    task, sets = text_task(call=called), (Rows(texts(1)), Rows(texts(4)[1:]))
    uce(once, task, *sets)
    uce(tied, task, *sets)
    assert tied.attn2["to_k"].weight.equal(once.attn2["to_k"].weight)
    assert tied.attn2["to_v"].weight.data_ptr() == tied.attn2["to_k"].weight.data_ptr()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    wanted, model, task = attending(), attending().to(dtype), text_task(call=called)
    uce(wanted, task, Rows(texts(1)), Rows(texts(4)[1:]))
    found = uce(model, task, Rows(texts(1)), Rows(texts(4)[1:]))
    weight = model.attn2["to_v"].weight
    assert weight.dtype == dtype and found.left < 1
    torch.testing.assert_close(weight.float(), wanted.attn2["to_v"].weight, rtol=2e-2, atol=2e-2)


def test_rounds_move_what_finds_the_text_again_further_away() -> None:
    """The least that a condition is from what the edited one gave, over all conditions of one length, grows."""
    every, left = torch.randn(6, 1, 6, generator=torch.Generator().manual_seed(4)), []
    for rounds in (0, 1, 3):
        model, before = attending(), attending()
        found = uce(model, text_task(call=called, null=every[5]), Rows(every[:1]), Rows(every[1:3]), lamb=0.1,
                    preserve_scale=0.1, rounds=rounds)  # fmt: skip
        assert found.edited == 1 + rounds
        both = (torch.cat([m.attn2[name].weight for name in ("to_k", "to_v")]) for m in (model, before))
        now, was = (each.detach().double() for each in both)
        wanted = was @ every[0, 0].double()
        best = torch.linalg.solve(now.T @ now + 0.1 * torch.eye(6), now.T @ wanted)
        left.append(float((now @ best - wanted).square().sum() + 0.1 * best.square().sum()))
    assert left[0] < 0.9 * left[1] < 0.9 * left[2]


@pytest.mark.parametrize("net", [class_unet, dit])
def test_a_class_model_takes_the_edited_class_for_the_guide(net: Callable[[], nn.Module]) -> None:
    model, task, every = net(), class_task(), torch.arange(CLASSES + 1)
    before = copy.deepcopy(model)
    found = uce(model, task, Rows(every[1:2], 5), Rows(every[[0, 2, 3]], 2), guide=3)
    was, now = drawn(before, task, every), drawn(model, task, every)
    torch.testing.assert_close(now, was[[0, 3, 2, 3, 4]])
    assert (was[1] - was[3]).abs().max() > 1e-6
    assert moved(model, before) == {f"{name}.weight" for name in found.change}
    assert len(found.change) == (1 if net is class_unet else 2)
    assert (found.edited, found.preserved, found.left) == (1, 3, 0.0)


def test_without_a_guide_a_class_is_taken_for_none() -> None:
    model, task = class_unet(), class_task()
    uce(model, task, [{"x0": torch.zeros(2, 1, 8, 8), "condition": torch.tensor([0, 2])}], Rows(torch.tensor([1, 3])))
    table, before = model.class_embedding.weight, class_unet().class_embedding.weight
    assert table.equal(before[[CLASSES, 1, CLASSES, 3, CLASSES]])
