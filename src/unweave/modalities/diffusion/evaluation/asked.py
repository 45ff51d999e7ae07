"""What every model of one request is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unweave.data.batches import moved
from unweave.execution import device_of
from unweave.modalities.diffusion.data import Conditioned, pixels
from unweave.modalities.diffusion.evaluation.exam import Exam
from unweave.modalities.diffusion.evaluation.judge import Judge, trained
from unweave.modalities.diffusion.recognised import Recognised
from unweave.modalities.images.tensors import Source
from unweave.modules import evaluating
from unweave.tasks import Diffusion
from unweave.watch import Watch, silent

if TYPE_CHECKING:
    from unweave.modalities.diffusion.job import DiffusionJob


def judge(source: Source, watch: Watch = silent) -> Judge:
    """Trained on all training images, to forget or not, and tested on the test images; from the cache if it was."""
    (x, labels), test = ((pixels(data), data.labels) for data in (source.train, source.test))
    return trained(x, labels, len(source.classes), 0, watch, test=test)


def exam(job: DiffusionJob) -> Exam:
    """The questions of a job."""
    how, rows = job.how, torch.isin(job.test.labels, torch.tensor(job.kept)).nonzero().flatten()
    sets = {"forget": job.forget, "retain": job.retain, "test": job.test.subset(rows)}
    return Exam(
        task=job.task,
        judge=None if how.judge == "none" else job.judge,
        real=pixels(job.source.test.subset(rows)),
        sets=sets | ({"unseen": job.holdout} if job.gone and len(job.holdout) else {}),
        kept=job.kept,
        forgotten=job.gone,
        condition=job.train.conditions,
        words=None if job.view.prompts is None else job.view.words,
        picture=job.view.pictures,
        images=how.images,
        kept_images=how.images // 2,
        steps=how.sampling_steps,
        guidance=how.guidance,
        looks=how.looks,
        seed=how.seed,
    )


def odds(task: Diffusion, model: nn.Module, data: Conditioned) -> Tensor:
    """Log-odds that what is drawn for an example is not recognised, `[n]`; without a judge, the denoising loss."""
    seen, found = task.recognised, [torch.zeros(0, dtype=torch.float64)]
    read = seen.odds if isinstance(seen, Recognised) else task.reading
    with torch.no_grad(), evaluating(model):
        for rows in torch.arange(len(data)).split(Diffusion.reading_batch):
            found.append(read(model, moved(data.batch(rows), device_of(model))).cpu().double())
    return torch.cat(found)
