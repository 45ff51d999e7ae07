"""The answers of every example of a set, not of a sample alone: one that no model can have is told before a step."""

from __future__ import annotations

from unweave.data.checks import check_labels
from unweave.data.protocol import indexed
from unweave.errors import of_set
from unweave.samples import Data, Sample, labels
from unweave.tasks import Known, Task


def check_answers(task: Task, name: str, data: Data, classes: int) -> None:
    """Reads all answers of a set that has an index, by what the task says of them; no forward pass.

    Args:
        task: of classes, or one that says what its answers may be (`answers`).
        name: of the set.
        data: all of it.
        classes: that the model knows; 0 where nobody can say.

    Raises:
        ConfigurationError: an answer is none, with the set and its first rows.
    """
    known = Known(task)
    if not indexed(data):
        return
    if known.answers is None:
        if known.logits is not None and classes and (every := labels(data)) is not None:
            with of_set(name):
                check_labels(every, classes)
        return
    sample = Sample(data, batch=known.reading_batch)
    for number, batch in enumerate(sample):
        with of_set(name, sample.rows[number * known.reading_batch :].tolist()):
            known.answers(batch, classes)
