"""What is measured on is not trained on, and a forget loss that looks ahead leaves buffers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import unweave
from tests._toys import same, weights
from unweave.errors import ConfigurationError
from unweave.evaluation import score
from unweave.execution import seeded
from unweave.tasks import Classification, Dense, Language, Regression, guessed

torch.manual_seed(0)
DATA = TensorDataset(torch.randn(200, 6), torch.randint(0, 2, (200,)))
FORGET, RETAIN = Subset(DATA, range(30)), Subset(DATA, range(30, 160))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).eval()


@pytest.mark.parametrize("name", ["holdout", "guard", "final"])
def test_a_set_that_steps_train_on_measures_nothing(name: str) -> None:
    unseen = Subset(DATA, range(160, 200))
    for shared, first in ((FORGET, "forget[0]"), (Subset(DATA, [170, 31]), "retain[1]")):
        with pytest.raises(ConfigurationError) as caught:
            unweave.unlearn(
                model(), forget=FORGET, retain=RETAIN, contract=unweave.Contract(), **{"holdout": unseen, name: shared}
            )
        assert f"{name}: expected examples that no step trains on" in str(caught.value) and first in str(caught.value)


@pytest.mark.filterwarnings("ignore::unweave.guards.GuardWarning")
def test_a_relearner_leads_a_network_with_batch_norm() -> None:
    whole = model()
    before = [buffer.clone() for buffer in whole.buffers()]
    result = unweave.unlearn(whole, forget=FORGET, retain=RETAIN, relearner=4, steps=3)
    assert result.reason == "steps used up" and result.steps == 3
    assert all(a.equal(b) for a, b in zip(result.model.buffers(), before, strict=True))


def test_a_task_in_words_is_no_task_to_score() -> None:
    for task in ("regression", Classification):
        with pytest.raises(ConfigurationError, match=r"expected an object with nll"):
            score(model(), task, forget=FORGET, retain=RETAIN, test=RETAIN)  # type: ignore[arg-type]


def test_classes_that_may_stand_first_or_last_are_asked_for() -> None:
    net, batch = nn.Conv1d(4, 4, 1), (torch.randn(5, 4, 4), torch.randint(0, 4, (5, 4)))
    with pytest.raises(ConfigurationError, match=r"first or last: say which"):
        Dense().nll(net, batch)
    assert Dense(classes="first").nll(net, batch).shape == (5,)


def test_one_hot_masks_are_not_guessed_to_be_independent_places() -> None:
    labels = torch.nn.functional.one_hot(torch.randint(0, 3, (5, 4, 4)), 3).movedim(-1, 1)
    with pytest.raises(ConfigurationError, match=r"answers.argmax\(1\)"):
        guessed(nn.Conv2d(2, 3, 1), [(torch.randn(5, 2, 4, 4), labels)])


@pytest.mark.parametrize("given", [{"relearner": 2}, {"until": 3.0}])
def test_a_method_without_steps_has_no_forget_loss_to_end_or_to_read_elsewhere(given: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="takes no steps along a forget loss"):
        unweave.unlearn(model(), forget=FORGET, retain=RETAIN, method="ssd", **given)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_a_guess_that_fits_its_examples_exactly_is_given_the_holdout_that_it_asks_for() -> None:
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    line = nn.Linear(6, 1)
    y = line(x).detach()
    sides = {"forget": TensorDataset(x[:20], y[:20]), "retain": TensorDataset(x[20:40], y[20:40])}
    with pytest.raises(ConfigurationError, match=r"fits them exactly.*holdout="):
        unweave.unlearn(line, **sides, steps=1)  # type: ignore[arg-type]
    unseen = TensorDataset(x[40:], y[40:] + 0.5)
    found = unweave.unlearn(line, **sides, holdout=unseen, steps=1).task  # type: ignore[arg-type]
    assert isinstance(found, Regression) and found.scale == pytest.approx(0.5)


class Rows(Dataset[Any]):
    """As Hugging Face's data sets give them, where no format is set: lists of numbers."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        ids = self.rows[row].tolist()
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids}


class Next(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 8), nn.Linear(8, 11)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.out(self.embed(input_ids))


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_lists_of_numbers_are_rows_and_not_columns() -> None:
    """torch would make a list of as many tensors as a row is long of lists of one length."""
    ids = torch.randint(0, 11, (60, 7), generator=torch.Generator().manual_seed(0))
    both = [
        {"forget": kind(ids[:20]), "retain": kind(ids[20:])}
        for kind in (Rows, lambda rows: _Tensors(Rows(rows)))
    ]  # fmt: skip
    with seeded(0):
        net = Next()
    lists, tensors = (unweave.unlearn(net, **sides, steps=2) for sides in both)  # type: ignore[arg-type]
    assert type(lists.task) is Language
    assert same(weights(lists.model), weights(tensors.model)) and not same(weights(lists.model), weights(net))


def test_columns_that_a_loader_made_of_lists_are_told() -> None:
    loader = DataLoader(Rows(torch.randint(0, 11, (6, 7))), 3)
    for task in (Language(), Dense()):
        with pytest.raises(ConfigurationError, match=r"lists of numbers.*with_format\('torch'\)"):
            task.nll(Next(), next(iter(loader)))


class _Tensors(Dataset[Any]):
    def __init__(self, data: Rows) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Any:
        return {name: torch.tensor(value) for name, value in self.data[row].items()}


def _copy(data: Subset[Any]) -> TensorDataset:
    return TensorDataset(*(tensor[torch.tensor(data.indices)].clone() for tensor in DATA.tensors))


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", ["holdout", "guard", "final"])
def test_copies_of_what_is_trained_on_measure_nothing(name: str) -> None:
    """Also where nothing says whose rows they are; an example that occurs twice in the data makes no copy."""
    apart = TensorDataset(*(tensor[160:].clone() for tensor in DATA.tensors))
    contract = unweave.Contract(
        keep=[] if name == "holdout" else [unweave.Keep("accuracy", absolute=0.5)],
        forget=[unweave.Forget("unseen")] if name == "holdout" else [],
    )
    sides = {"forget": FORGET, "retain": RETAIN, "contract": contract, "steps": 1}
    sides |= {"guard": apart} if name == "final" else {}
    for copied in (FORGET, RETAIN):
        with pytest.raises(ConfigurationError, match=rf"^{name}: .* no step trains on.*first: {name}\[0\] = "):
            unweave.unlearn(model(), **sides | {name: _copy(copied)})  # type: ignore[arg-type]
    few = TensorDataset(*(torch.cat([tensor[160:], tensor[:10]]) for tensor in DATA.tensors))
    assert unweave.unlearn(model(), **sides | {name: few}).steps <= 1  # type: ignore[arg-type]


def test_sets_to_measure_on_that_are_empty_are_refused() -> None:
    none = TensorDataset(*(tensor[:0] for tensor in DATA.tensors))
    apart = TensorDataset(*(tensor[160:].clone() for tensor in DATA.tensors))
    contract = unweave.Contract(keep=[unweave.Keep("accuracy", absolute=0.5)], forget=[])
    for name, given in (("guard", {"guard": none}), ("final", {"guard": apart, "final": none})):
        with pytest.raises(ConfigurationError, match=f"the {name} set is empty"):
            unweave.unlearn(model(), forget=FORGET, retain=RETAIN, contract=contract, **given, steps=1)  # type: ignore[arg-type]


def test_a_row_that_cannot_be_read_is_named() -> None:
    class Torn(Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, row: int) -> Any:
            if row == 7:
                raise OSError("disk gone")
            return DATA[row]

    with pytest.raises(ConfigurationError, match=r"retain\[7\] cannot be read: disk gone"):
        unweave.unlearn(model(), forget=FORGET, retain=Torn(), steps=1)


def test_a_retrained_model_that_does_not_fit_is_named() -> None:
    contract = unweave.Contract(keep=[], forget=[unweave.Forget("retrained")])
    other = nn.Linear(3, 2)
    with pytest.raises(ConfigurationError, match=r"^the retrained model: "):
        unweave.unlearn(model(), forget=FORGET, retain=RETAIN, contract=contract, retrained=other, steps=1)
