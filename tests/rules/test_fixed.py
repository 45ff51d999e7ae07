from __future__ import annotations

import torch

from unweave.rules import Fixed


def test_weights_are_the_fields_and_ask_for_no_loss() -> None:
    rule = Fixed(forget=0.5, retain=2.0)
    assert rule.needs_losses is False
    assert rule.weights(torch.tensor([7.0, 9.0])).tolist() == [0.5, 2.0]
    assert Fixed().weights(torch.zeros(2)).tolist() == [1.0, 1.0]
    assert rule.state_dict() == {}
