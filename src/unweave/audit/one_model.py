"""What one model alone can show (rung E1): attacks on forget against holdout, beside the blind baseline."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unweave.audit.attacks import Blind, blind_baseline, forget_against_holdout
from unweave.audit.evidence_parts.attacks import joined
from unweave.audit.models import rows_of
from unweave.audit.seen import holdout_of
from unweave.evaluation.evidence import Evidence
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.value import Array
from unweave.modalities.images.job import ImageJob

BLIND = 2000  # examples a side that the blind baseline looks at


def one_model(request: ImageJob, outputs: Mapping[str, Outputs], seed: int = 0) -> tuple[Mapping[str, Evidence], Blind]:
    """The AUC of the loss, of seven signals joined, and of a classifier that never sees the model; and what that means.

    Args:
        request: its forget set is attacked; its holdout is what it is compared with.
        outputs: of the attacked model on forget and test set.
        seed: of the folds.
    """
    unseen = outputs["test"].logits.index_select(0, rows_of(holdout_of(request), request.test))
    sides = [outputs["forget"], Outputs(unseen, holdout_of(request).labels)]
    blind = blind_baseline(*features(request, seed), seed=seed)
    found = {
        "blind, no model": blind.evidence,
        "loss": forget_against_holdout(*(side.margin for side in sides), seed=seed).auc,
        "joined": forget_against_holdout(*(joined(side) for side in sides), seed=seed).auc,
    }
    return found, blind


def features(request: ImageJob, seed: int) -> tuple[Array, Array]:
    """What the blind baseline sees of the forget set and of the holdout: pixels, and a column per label."""
    rng = np.random.default_rng(seed)
    made = []
    for data in (request.forget, holdout_of(request)):
        rows = np.sort(rng.permutation(len(data))[:BLIND])
        images, labels = data.batch(rows)
        one_hot = np.eye(request.network.classes)[labels.numpy()]
        made.append(np.concatenate([images.flatten(1).double().numpy(), one_hot], axis=1))
    return made[0], made[1]
