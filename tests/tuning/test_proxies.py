"""A proxy request has the size and the mix of the real one, and none of its rows, its guard and its final set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.modalities.texts._world import NAMES, PLACES, made
from unweave import modalities
from unweave.contract.sets import halves
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import by_row, job, original, read
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.images.job import ImageJob
from unweave.modalities.records.job import RecordsJob
from unweave.modalities.texts.job import TextJob
from unweave.run.session import contract_sets
from unweave.store import tensors_sha256
from unweave.tuning.world import requests

Write = Callable[..., Path]
CONTRACT = "contract: {keep: [{metric: accuracy, absolute: 0.06}]}\ntraining: {epochs: 1}\n"


def images(recipe: Write, forget: str, seed: int = 0) -> tuple[ImageJob, ImageJob, set[int], set[int]]:
    """The real request, a proxy, and the rows of guard and final set."""
    asked = read(recipe(f"data: {{source: digits}}\nforget: {forget}\n{CONTRACT}"))
    real = job(asked)
    assert isinstance(real, ImageJob) and asked.contract is not None
    rows = contract_sets(asked.contract.contract(), real, asked.run.seed)[1].rows
    assert rows is not None
    (proxy,) = requests(asked, real, "proxies", 1, seed)
    assert isinstance(proxy, ImageJob)
    guard, final = (set(real.split.retain[each].tolist()) for each in rows)
    return real, proxy, guard, final


@pytest.mark.parametrize("forget", ["{random: 0.1}", "{poison: 0.1}", "{class: 3}"])
def test_images(recipe: Write, forget: str) -> None:
    real, proxy, guard, final = images(recipe, forget)
    gone, kept, also = (set(each.tolist()) for each in (proxy.split.forget, proxy.split.retain, proxy.also))  # type: ignore[union-attr]
    own = set(real.split.forget.tolist())
    assert gone and not gone & (own | guard | final), "what is drawn is in no other set"
    assert not kept & (own | final | gone) and own <= also, "no step sees them, and retrained models learn the request"
    assert proxy.held is not None and set(proxy.held[0].tolist()) <= guard & kept and not len(proxy.held[1])
    assert set(proxy.divided()[1]) == {"guard"}
    assert len(proxy.without) == len(kept | also)
    assert torch.equal(proxy.retain.images, real.train.images[sorted(kept)])
    other = images(recipe, forget, seed=5)[1]
    assert set(other.split.forget.tolist()) != gone, "another seed draws others"


def test_rows_at_random_have_the_size_and_the_labels_of_the_request(recipe: Write) -> None:
    real, proxy, *_ = images(recipe, "{random: 0.1}")
    counts = [each.forget.labels.bincount(minlength=10).tolist() for each in (real, proxy)]
    assert counts[0] == counts[1] and sum(counts[0]) == len(real.forget) == 130


def test_a_class_stands_for_a_class_of_which_nothing_is_left(recipe: Write) -> None:
    real, proxy, guard, _ = images(recipe, "{class: 3}")
    (label,) = proxy.forget.labels.unique().tolist()
    assert label != 3 and len(proxy.forget) <= len(real.forget)
    assert not (proxy.retain.labels == label).any() and not (proxy.without.labels == label).any()
    assert (proxy.without.labels == 3).any(), "the request is learned, as by the original"
    assert proxy.held is not None and 0 < len(proxy.held[0]) < len(guard)
    assert set(proxy.holdout.labels.tolist()) == {label}  # type: ignore[union-attr]


def test_wrong_labels_are_planted_and_the_original_learns_them(recipe: Write) -> None:
    real, proxy, *_ = images(recipe, "{poison: 0.1}")
    changed = (real.train.labels != proxy.train.labels).nonzero().flatten()
    assert changed.tolist() == proxy.split.forget.tolist() and len(changed) == len(real.forget)
    asked = read(recipe(f"data: {{source: digits}}\nforget: {{poison: 0.1}}\n{CONTRACT}"))
    before, after = (tensors_sha256(original(asked, each).state_dict()) for each in (real, proxy))
    assert before != after


def test_a_proxy_of_rows_starts_from_the_very_original(recipe: Write) -> None:
    asked = read(recipe(f"data: {{source: digits}}\nforget: {{class: 3}}\n{CONTRACT}"))
    real = job(asked)
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    before, after = (tensors_sha256(original(asked, each).state_dict()) for each in (real, proxy))
    assert before == after


def test_what_measures_the_end_of_the_real_request_is_unseen_by_proxies(recipe: Write) -> None:
    """The wrong labels' holdout has all 500 test images: one half steers, the other is spared."""
    real, proxy, *_ = images(recipe, "{poison: 0.1}")
    assert real.holdout is not None and len(real.holdout) == len(real.test) == 500
    assert len(proxy.test) == 250 and proxy.holdout is not None and len(proxy.holdout) == 250


def test_without_room_it_is_said() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    split = by_row.by_index(np.arange(8), 20)
    with pytest.raises(ConfigurationError, match=r"takes 8 of the same kind, and there are 2.*--by contract"):
        by_row.proxy(labels, split, np.arange(0), np.arange(0), 0)
    with pytest.raises(ConfigurationError, match="takes 1 of 1 whole groups"):
        by_row.proxy(labels, by_row.by_index(np.arange(10), 20), np.arange(0), np.arange(0), 0)


TEXTS = """\
data: {source: texts, path: many.jsonl, holdout: unseen.jsonl}
forget: {ids: request.txt}
model: {base: base}
training: {epochs: 2, batch: 8, lr: 5.0e-3, seed: 3}
step: {name: adamw, lr: 3.0e-3}
contract: {keep: [], forget: [unseen]}
run: {steps: 2, forget_batch: 4, retain_batch: 8}
evaluation: {quote: false, generate: 3, at_most: 20, relearning: none}
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Facts about eight people, whose id each fact has; two are to be forgotten."""
    folder = tmp_path_factory.mktemp("people")
    made(folder)
    told = [{"id": n, "question": f"where was {n} in {p}?", "answer": f"In {p}."} for n in NAMES for p in PLACES]
    unseen = [{"question": f"where was Ines in {p}?", "answer": f"In {p}."} for p in PLACES]
    for name, rows in {"many": told, "unseen": unseen}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "request.txt").write_text("Ana\nHugo\n")
    (folder / "recipe.yaml").write_text(TEXTS)
    return folder


def test_texts_of_people(people: Path) -> None:
    asked = read(people / "recipe.yaml")
    real = job(asked)
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    assert isinstance(real, TextJob) and isinstance(proxy, TextJob)
    names = set(proxy.forget.ids)
    assert len(names) == 2 and not names & {"Ana", "Hugo"} and len(proxy.forget) == len(real.forget) == 16
    assert not names & set(proxy.retain.ids) and not {"Ana", "Hugo"} & set(proxy.retain.ids)
    assert set(proxy.without.ids) == set(NAMES) - names and len(proxy.without) == 48
    assert proxy.train is real.train, "its original is the very same"
    assert [e.text for e in proxy.parts["forget"].examples] == [text.answer for text in proxy.forget.texts]
    measured = {text.answer + str(text.turns) for text in real.measured.texts}  # type: ignore[union-attr]
    assert not measured & {text.answer + str(text.turns) for text in proxy.asked.holdout}


def test_nobody_knows_how_to_retrain_what_was_given(people: Path) -> None:
    asked = read(people / "recipe.yaml", ["model={weights: model}", "training={}"])
    with pytest.raises(UnsupportedError, match=r"give model.base and training, or search with --by contract"):
        requests(asked, job(asked), "proxies", 1, 0)


DRAWN = "data: {source: digits_to_draw}\nforget: {class: 3}\ntraining: {steps: 2}\n"


def test_images_that_are_drawn(recipe: Write) -> None:
    asked = read(recipe(DRAWN))
    real = job(asked)
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    assert isinstance(real, DiffusionJob) and isinstance(proxy, DiffusionJob) and proxy.also is not None
    (label,) = proxy.gone
    assert real.gone == (3,) and label != 3 and set(proxy.forget.labels.tolist()) == {label}
    assert label not in proxy.kept and 3 not in proxy.kept and set(proxy.holdout.labels.tolist()) == {label}
    learned = set(proxy.without.labels.tolist())
    assert label not in learned and 3 in learned and not {*real.split.forget} & {*proxy.split.retain}


TABLE = """\
data: {source: csv, path: table.csv, target: y, user: who}
forget: {where: {who: [p1, p2]}}
training: {epochs: 2}
contract: {keep: [{metric: accuracy, absolute: 0.4}], forget: []}
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty people of ten rows each, in two classes."""
    rows = "\n".join(f"p{n // 10},{n},{n % 7},{n % 2}" for n in range(400))
    (tmp_path / "table.csv").write_text(f"who,a,b,y\n{rows}\n")
    (tmp_path / "recipe.yaml").write_text(TABLE)
    return tmp_path / "recipe.yaml"


def test_records_of_people(table: Path) -> None:
    asked = read(table)
    real = job(asked)
    assert isinstance(real, RecordsJob) and asked.contract is not None
    guard, final = contract_sets(asked.contract.contract(), real, 0)[1].rows or ((), ())
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    assert isinstance(proxy, RecordsJob) and real.source.people is not None
    people = set(real.source.people[proxy.split.forget])
    assert len(people) == 2 and not people & {"p1", "p2"} and 0 < len(proxy.forget) <= len(real.forget) == 20
    apart = {*real.split.retain[guard], *real.split.retain[final], *real.split.forget}
    assert not apart & {*proxy.split.forget} and not {*real.split.retain[final]} & {*proxy.split.retain}
    learned = {*real.source.people[proxy.split.retain], *real.source.people[proxy.also]}
    assert not people & learned and {"p1", "p2"} <= learned
    assert proxy.reference(1, lambda *_: None) is not None and len(proxy.without) < len(real.retain) + 20


def test_records_of_nobody_keep_their_classes(table: Path) -> None:
    asked = read(table, ["data.user=null", "forget={random: 0.1}"])
    real = job(asked)
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    assert isinstance(real, RecordsJob) and isinstance(proxy, RecordsJob)
    counts = [np.bincount(each.forget.labels) for each in (real, proxy)]  # type: ignore[arg-type]
    assert (counts[0] == counts[1]).all() and counts[0].sum() == len(real.forget)


def test_data_without_proxies_are_searched_by_contract(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = modalities.of
    monkeypatch.setattr(modalities, "of", lambda recipe: replace(real(recipe), proxy=None))
    asked = read(table, ["contract={keep: []}"])
    with pytest.raises(UnsupportedError, match="nobody knows how to draw proxy requests of records"):
        requests(asked, job(asked), "proxies", 1, 0)
    assert len(requests(asked, job(asked), "contract", 1, 0)) == 1


MADE = """\
data: {source: people, people: 20}
forget: {split: forget10}
model: {pretraining: {epochs: 1, hidden: 16, layers: 1}}
training: {epochs: 1}
step: {name: adamw, lr: 3.0e-3}
contract: none
run: {steps: 1, forget_batch: 4, retain_batch: 8}
evaluation: {quote: false, generate: 0, at_most: 8, prefix: 0, relearning: none}
"""


def test_people_who_are_made_up_have_proxies(tmp_path: Path) -> None:
    """Whose base is made on the spot, and is that of the real request."""
    (tmp_path / "recipe.yaml").write_text(MADE)
    asked = read(tmp_path / "recipe.yaml", [])
    real: Any = job(asked)
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    assert len(proxy.forget) == len(real.forget) == 8 and not {*proxy.forget.ids} & {*real.forget.ids}
    before, after = (tensors_sha256(original(asked, each).state_dict()) for each in (real, proxy))
    assert before == after


def test_searches_of_neighbouring_seeds_have_proxies_of_their_own(recipe: Write) -> None:
    asked = read(recipe(), ["forget={random: 0.05}"])
    one, other = (requests(asked, job(asked), "proxies", 3, seed) for seed in (0, 1))
    assert len({each.prints()["forget"] for each in (*one, *other)}) == 6


def test_what_repeats_the_request_is_no_proxy_of_it(tmp_path: Path) -> None:
    """The copies stay among what is kept, and retrained models learn them."""
    (tmp_path / "recipe.yaml").write_text(MADE)
    asked = read(tmp_path / "recipe.yaml", ["data.duplicates=exact"])
    real: Any = job(asked)
    gone = {(text.turns, text.answer) for text in real.forget.texts}
    found: Any = requests(asked, real, "proxies", 15, 0)
    for proxy in found:
        assert not gone & {(text.turns, text.answer) for text in proxy.forget.texts}
        assert sum(text.copy for text in proxy.retain.texts) == 8 == sum(text.copy for text in real.retain.texts)


def test_drawn_images_that_measure_the_end_of_the_real_request_are_unseen_by_proxies(recipe: Write) -> None:
    """A request at random has all 450 test images as its holdout, near enough: one half steers, the other is spared."""
    asked = read(recipe(DRAWN.replace("{class: 3}", "{random: 0.1}")))
    real: Any = job(asked)
    measured = real.holdout.subset(halves(real.holdout, asked.run.seed)[1])
    assert len(measured) >= 100
    (proxy,) = requests(asked, real, "proxies", 1, 0)
    assert isinstance(proxy, DiffusionJob) and len(proxy.test) == len(real.test) - len(measured)
    apart = {image.numpy().tobytes() for image in measured.x0}
    for part in (proxy.test, proxy.holdout):
        assert len(part) and not apart & {image.numpy().tobytes() for image in part.x0}


def test_no_proxy_is_another_one(recipe: Write) -> None:
    """Of a class there are nine others, and no tenth."""
    asked = read(recipe(), ["forget={class: 3}"])
    real = job(asked)
    found = requests(asked, real, "proxies", 9, 0)
    assert len({each.prints()["forget"] for each in found}) == 9
    with pytest.raises(ConfigurationError, match=r"--proxies: expected 9 at most.* found 10"):
        requests(asked, real, "proxies", 10, 0)
