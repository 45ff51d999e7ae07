"""Texts and the language models that learn them: sources, tokens, fine-tuning, requests and scores."""

from unweave.modalities._base import Card, Front, Modality
from unweave.modalities.texts.build import request, training_set
from unweave.modalities.texts.evaluation.metrics import SHEET
from unweave.modalities.texts.evaluation.stored import sheets_of_logs
from unweave.modalities.texts.proxies import proxy
from unweave.modalities.texts.recipe import SOURCES, TextForget, TextRecipe, faults_of, left
from unweave.modalities.texts.training import Finetuning
from unweave.tasks import Language

TEXTS = Modality(
    name="texts",
    sources=SOURCES,
    recipe=TextRecipe,
    forget=TextForget,
    task=lambda document: Language(),
    training=Finetuning,
    job=request,
    training_set=training_set,
    faults=faults_of,
    left=left,
    metrics=SHEET,
    card=Card(
        "text-generation",
        {
            "model_utility": ("retain", "model_utility", "Model utility"),
            "forget_quality": ("forget", "forget_quality", "Forget quality"),
            "retain_probability": ("retain", "probability", "Probability of retained answers"),
            "retain_rouge": ("retain", "rouge", "ROUGE-L recall of retained answers"),
            "forget_probability": ("forget", "probability", "Probability of forgotten answers"),
            "forget_rouge": ("forget", "rouge", "ROUGE-L recall of forgotten answers"),
        },
        pipeline=True,
    ),
    front=Front(
        ("forget_probability", "retain_probability", "model_utility"),
        ("forget_quality", "model_utility"),
        {
            "forget_probability": "probability of forget answers, %",
            "retain_probability": "probability of retain answers against the original, points",
        },
    ),
    examples="texts",
    retrained="evaluation.reference: FOLDER, or model.base",
    places=(
        *("data.holdout", "data.refusals", "model.base", "model.adapter", "forget.ids", "forget.file"),
        *("evaluation.reference", "evaluation.batch_tokens"),
    ),
    numbered=("texts",),
    over_trainings=True,
    proxy=proxy,
    logs=sheets_of_logs,
)
