"""Labels on padding, labels that are shifted, labels that are other tokens: said before a weight moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

import unweave
from tests._texts import VOCABULARY, llama, tokenizer
from unweave.errors import ConfigurationError
from unweave.guards import Guards
from unweave.guards.precheck import check
from unweave.modalities.texts.data import Text, tokenised
from unweave.tasks import Language

LENGTHS = (4, 9, 7, 10, 6)
Change = Callable[[Tensor, Tensor], Tensor]


class Rows(Dataset[dict[str, Tensor]]):
    """Random tokens in a width of 10; the labels are what `change(ids, mask)` makes of them."""

    def __init__(self, change: Change, seed: int = 1, left: bool = False, only: int = 5) -> None:
        generator, self.rows = torch.Generator().manual_seed(seed), list[dict[str, Tensor]]()
        for number, n in enumerate(LENGTHS):
            ids, mask = torch.zeros(10, dtype=torch.long), torch.zeros(10, dtype=torch.long)
            place = slice(10 - n, 10) if left else slice(0, n)
            ids[place], mask[place] = torch.randperm(VOCABULARY - 3, generator=generator)[:n] + 3, 1
            labels = change(ids, mask) if number < only else right(ids, mask)
            self.rows.append({"input_ids": ids, "attention_mask": mask, "labels": labels})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return self.rows[row]


def right(ids: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask == 1, ids, -100)


def said(rows: Any, retain: Any = None) -> list[str]:
    return check(llama(), Language(), rows, retain or Rows(right, 2), guards=Guards())


REFUSED: dict[str, tuple[Change, bool, str]] = {
    "padding": (lambda ids, mask: ids.clone(), False, "the labels of 3 of 5 examples .* stand on padding"),
    "padding on the left": (lambda ids, mask: ids.clone(), True, "the labels of 4 of 5 examples .* stand on padding"),
    "shifted": (lambda ids, mask: right(ids, mask).roll(-1), False, "the labels of 5 of 5 .* tokens that come next"),
    "shifted, its answer alone": (
        lambda ids, mask: right(ids, mask).index_fill(0, torch.arange(2), -100).roll(-1), False, "tokens that come next"
    ),
    "shifted on the left": (lambda ids, mask: right(ids, mask).roll(-1), True, "tokens that come next"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_another_loss_is_refused(case: str) -> None:
    change, left, words = REFUSED[case]
    with pytest.raises(ConfigurationError, match=f"^forget: .*{words}") as caught:
        said(Rows(change, left=left))
    assert len(caught.value.faults) == 1
    with pytest.raises(ConfigurationError, match=f"^retain: .*{words}"):
        said(Rows(right), Rows(change, left=left))


def test_other_tokens_are_warned_of() -> None:
    (warning,) = said(Rows(lambda ids, mask: right(ids, mask).where(mask == 0, 5), only=2))
    assert "forget: the labels of 2 of 5 examples that were looked at are other tokens than input_ids" in warning
    (warning,) = said(Rows(lambda ids, mask: right(ids, mask).roll(-1), only=1))
    assert "1 of 5" in warning, "a single row says nothing about how labels were made"


def test_what_is_right_is_not_spoken_of() -> None:
    """Nor are the ends of texts that open-unlearning hides from attention and asks for."""
    rows = [Text(str(i), (("user", "Where?"),), "a " * (3 * i + 1)) for i in range(6)]
    own = tokenizer(["Where? a a a"])
    for made in (Rows(right), Rows(right, left=True)):
        assert said(made) == []
    hidden = tokenised(rows, own, compat="open-unlearning", alternates=["Nowhere.", "Not here."])
    model = llama(vocabulary=400)
    assert check(model, Language(), hidden, hidden.subset([0, 3]), guards=Guards()) == []


def test_a_run_is_refused_and_alternative_answers_are_looked_at() -> None:
    with pytest.raises(unweave.UnweaveError, match="forget: the labels of 3 of 5"):
        unweave.unlearn(
            llama(), forget=Rows(lambda ids, _: ids.clone()), retain=Rows(right, 2), task="language", steps=1
        )

    class Pairs(Rows):
        def __getitem__(self, row: int) -> Any:
            return {**self.rows[row], "alternate": {**self.rows[row], "labels": self.rows[row]["input_ids"]}}

    with pytest.raises(ConfigurationError, match="the labels of 3 of 10"):
        said(Pairs(right))
