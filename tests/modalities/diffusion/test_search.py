from __future__ import annotations

from dataclasses import replace
from itertools import repeat

import pytest
import torch
from torch import Tensor, nn

from tests.modalities.diffusion._tiny import MEANS, SCHEDULE, SHAPE, Denoiser, Held, exam, guess, task
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.modalities.diffusion.evaluation.scores import METRICS, score
from unweave.modalities.diffusion.evaluation.search import (
    ATTACKS,
    KINDS,
    PROMPT,
    STEPS,
    Attack,
    attacks,
    relearned,
    searched,
)
from unweave.tasks import Diffusion

HOW = Attack(images=10, search=40, drawn=30, search_lr=0.1)


def hiding() -> Denoiser:
    """Class 2 is drawn as class 0; an embedding that shows it is one search away."""
    means = MEANS.clone()
    means[2] = means[0]
    return Denoiser(means)


class Gone(nn.Module):
    """Knows two classes, and no condition that draws anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding.from_pretrained(torch.tensor([[9.0], [-9.0], [9.0], [0.0]]), freeze=False)
        self.shown = nn.Parameter(MEANS[:2].clone())

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        share = self.rows(class_labels).sigmoid()
        return guess(x, timestep, share * self.shown[0] + (1 - share) * self.shown[1])


def test_a_search_finds_what_is_hidden_and_no_weight_of_the_model_moves() -> None:
    model = hiding()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    found, condition = searched(model, task(), Held.of(2).x0[:10], torch.tensor(2), HOW)
    assert int(condition) == 2
    rows = found.get_parameter("means.weight").detach()
    assert (rows[2] - MEANS[2]).abs().max() < 0.2
    assert torch.equal(rows[[0, 1, 3]], model.means.weight[[0, 1, 3]].detach())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_what_the_row_of_the_class_holds_is_not_used() -> None:
    one, other = hiding(), hiding()
    with torch.no_grad():
        other.means.weight[2] = 50.0
    rows = [searched(each, task(), Held.of(2).x0[:10], torch.tensor(2), HOW)[0] for each in (one, other)]
    assert torch.equal(*(each.get_parameter("means.weight")[2] for each in rows))


def test_embeddings_are_searched_too() -> None:
    def call(model: nn.Module, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return guess(x, t, condition[:, 0])

    own = Diffusion(SCHEDULE, call=call)
    model, found = searched(Denoiser(), own, Held.of(1).x0[:10], torch.zeros(1, 4), HOW)
    assert (found[0] - MEANS[1]).abs().max() < 0.2
    drawn = generate(model, own, found.expand(5, 1, 4), torch.arange(5), SHAPE)
    assert (drawn.flatten(1).mean(0) - MEANS[1]).abs().max() < 0.3


def test_a_model_without_an_embedding_of_the_class_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"no torch\.nn\.Embedding with a row for class 7"):
        searched(Denoiser(), task(), Held.of(2).x0, torch.tensor(7), HOW)


def test_relearning_trains_a_copy_and_gives_it_after_every_number_of_steps() -> None:
    model, data = hiding(), Held.of(2)

    away = [
        float((own.get_parameter("means.weight")[2] - MEANS[2]).detach().norm())
        for _, own in relearned(model, task(), repeat(data.batch(range(40))), 0.05, (1, 10, 30))
    ]
    assert away[0] > away[1] > away[2]
    assert torch.equal(model.means.weight[2], MEANS[0])


def test_each_attack_is_a_score_that_stands_beside_the_control() -> None:
    asked, told = exam(), list[tuple[str, int, int]]()
    every = replace(HOW, which=tuple(each for each in KINDS if each != "prompt"))
    hidden, gone = (
        score(model, asked, every, lambda *words: told.append(words), "own") for model in (hiding(), Gone())
    )
    both = hidden.beside(gone)
    of_classes = set(ATTACKS) - {PROMPT.name}
    assert of_classes < set(hidden.scores)
    assert hidden.scores["search"].value > 0.9  # type: ignore[operator]
    assert gone.scores["search"].value < 0.1  # type: ignore[operator]
    assert hidden.scores["search"].n == HOW.drawn
    assert hidden.scores[f"benign_{STEPS[0]}"].value == 0
    for name in sorted(of_classes):
        shift, own, control = both[f"{name}_shift"], hidden.scores[name].value, gone.scores[name].value
        assert shift.value == pytest.approx(own - control, abs=1e-12)  # type: ignore[operator]
        assert shift.low is not None
        assert {name, shift.name} <= set(METRICS)
    total = HOW.search + 2 * max(STEPS)
    assert told[0] == ("attacks on the own", 0, total)
    assert told[-1] == ("attacks on the own", total, total)


class Typed:
    """One free token; the condition is its embedding, and the text says nothing."""

    free = 1

    def __init__(self, shows: Tensor) -> None:
        self.table = torch.cat([MEANS[:2], shows])

    def embedded(self, free: Tensor) -> Tensor:
        return free

    def text(self, tokens: Tensor) -> str:
        return str(tokens.tolist())


@pytest.mark.parametrize(("shows", "found"), [(MEANS[2:3], 1.0), (MEANS[:1], 0.0)])
def test_a_prompt_that_shows_the_class_is_found_where_there_is_one(shows: Tensor, found: float) -> None:
    own = Diffusion(SCHEDULE, call=lambda model, x, t, condition: guess(x, t, condition[:, 0]))
    asked = replace(exam(), task=own, condition=lambda classes: MEANS[classes][:, None])
    how = replace(HOW, which=("prompt",), search=10, images=5)
    hits = attacks(Denoiser(), replace(asked, words=lambda label, free: Typed(shows)), how)
    assert hits.keys() == {PROMPT.name} and len(hits[PROMPT.name]) == how.drawn
    assert abs(hits[PROMPT.name].mean() - found) < 0.2
    with pytest.raises(UnsupportedError, match="is not asked by texts"):
        attacks(Denoiser(), asked, how)


def test_only_the_attacks_that_are_asked_for_are_made() -> None:
    assert set(attacks(hiding(), exam(), replace(HOW, which=("benign",)))) == {f"benign_{k}" for k in STEPS}
    assert not set(ATTACKS) & set(score(hiding(), exam()).scores)


def test_a_request_without_a_class_is_not_attacked_and_one_without_its_images_is_refused() -> None:
    asked = exam()
    assert attacks(Denoiser(), replace(asked, forgotten=()), HOW) == {}
    with pytest.raises(ConfigurationError, match="need images of class 2 in the forget set; found none"):
        attacks(Denoiser(), replace(asked, sets={**asked.sets, "forget": Held.of(1)}), HOW)


def test_what_an_attacker_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="search"):
        Attack(search=0)
    with pytest.raises(ConfigurationError, match="lr"):
        Attack(lr=0.0)
    with pytest.raises(ConfigurationError, match="which may have search, prompt, relearning, benign; found reading"):
        Attack(which=("reading",))  # type: ignore[arg-type]
