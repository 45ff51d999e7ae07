"""A rule of your own: from a 2x2 Gramian to two weights. It works wherever the built-in ones do."""

import sys
from dataclasses import dataclass

import torch
from _digits import forget, model, retain

import unweave
from unweave.losses import Ascent
from unweave.rules import GradientRule
from unweave.testing import check_rule


@dataclass
class RetainFirst(GradientRule):
    """The whole retain gradient, and the part of the forget gradient orthogonal to it, times `strength`.

    d = g_r + s (g_u - <g_u, g_r> / |g_r|^2 g_r)
    """

    strength: float = 1.0

    def weights(self, gramian):  # [B, 2, 2] -> [B, 2], order forget, retain
        along = (gramian[:, 0, 1] / gramian[:, 1, 1]).nan_to_num()  # 0 where there is no retain gradient
        return torch.stack([torch.full_like(along, self.strength), 1 - self.strength * along], -1)


found = check_rule(RetainFirst(), degree=1)  # what this project's own rules pass
print(f"{sum(found.values())} checks of {len(found)} properties hold")

task = unweave.Classification()
method = unweave.Method(Ascent(task.nll), task.nll, RetainFirst(strength=0.5), paper="ours")
steps = 10 if "--smoke" in sys.argv else 100
enough = unweave.Contract(keep=(), forget=[unweave.Forget("accuracy", at_most=0.0)])
result = unweave.unlearn(model, forget=forget, retain=retain, task=task, method=method, contract=enough, steps=steps)

first, last = (record.step.losses.tolist() for record in (result.history[0], result.history[-1]))
print(f"forget objective {first[0]:.3f} -> {last[0]:.3f}   retain loss {first[1]:.3f} -> {last[1]:.3f}")
print(f"{result.steps} steps: {result.reason}")
