"""A recipe of diffusion models: the keys that other modalities do not have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, field_serializer, model_validator

from unweave.modalities.diffusion.concepts import Drawing
from unweave.modalities.diffusion.evaluation.search import Attack, Kind
from unweave.modalities.diffusion.lora import Lora
from unweave.modalities.diffusion.sources import CONCEPTS, SOURCES
from unweave.recipe.evidence import Points, TrainingsSection
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import (
    STRICT,
    ClassName,
    Count,
    DataSection,
    EvaluationSection,
    ExistingPath,
    ForgetSection,
    GuardsSection,
    ModelSection,
    NamedSection,
    Natural,
    Positive,
    RunSection,
    check_places,
    existing,
    nothing,
)
from unweave.recipe.yaml_lines import Document


class DiffusionData(DataSection):
    """Where the images come from, and what asks for them.

    `size` is the height and width that pictures get: the model's, or 32 pixels. `prompt` makes a text of a class for
    models of texts, "a photo of a {class}". Of `drawn_concepts` the original draws `images` for each of `prompts`, in
    `sampling_steps` with `guidance`, from noise of `seed`.
    """

    size: Annotated[int, Field(ge=8)] | None = None
    prompt: str | None = None
    prompts: tuple[str, ...] | None = None
    images: Annotated[int, Field(ge=5, le=100_000)] = Drawing.images
    sampling_steps: Count = Drawing.steps
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Drawing.guidance
    seed: Natural = Drawing.seed

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = SOURCES.get(self.source)
        if known is None:  # `modalities.read` says that it is unknown
            return self
        drawn, kind = self.source == CONCEPTS, "drawn" if self.source == CONCEPTS else "built in"
        if not known.path and (self.path is not None or self.size is not None):
            raise ValueError(f"{self.source} is {kind} and takes no path and no size")
        if known.path and self.path is None:
            raise ValueError(f"{self.source} needs a 'path'")
        if not known.sized and self.size is not None:
            raise ValueError(f"{self.source} takes no size")
        if not drawn and (self.prompts is not None or self.drawing() != Drawing()):
            raise ValueError(f"prompts, images, sampling_steps, guidance and seed are of {CONCEPTS} alone")
        if drawn and len(set(self.prompts or ())) < 2:
            raise ValueError(f"{CONCEPTS} needs 'prompts', two at least: those to forget and those to keep")
        if drawn and len(set(self.prompts or ())) < len(self.prompts or ()):
            raise ValueError("'prompts' must be there once each")
        if self.prompt is not None and "{class}" not in self.prompt:
            raise ValueError(f"'prompt' must have {{class}} in it; found {self.prompt!r}")
        if self.path is not None:
            existing(self.path)
        return self

    def drawing(self) -> Drawing:
        """As the library writes it."""
        return Drawing(self.images, self.sampling_steps, self.guidance, self.seed)


class DiffusionForget(ForgetSection):
    """What is to be forgotten: exactly one of class, prompts, indices, random.

    `class` is one that the model is no longer to draw, or several. `prompts` are captions, or shell-style patterns of
    them, such as "*van gogh*". `indices` is a file with row numbers of training images, `random` a share of them: there
    the model still draws every class, and what is judged is what it denoises.
    """

    ONE_OF: ClassVar[tuple[str, ...]] = ("class", "prompts", "indices", "random")
    class_: ClassName | tuple[ClassName, ...] | None = Field(default=None, alias="class")
    prompts: str | tuple[str, ...] | None = None


class LoraSection(BaseModel):
    """Low-rank adapters of a text-conditional UNet; see `lora.Lora`."""

    model_config = STRICT
    rank: Count = 4
    alpha: Positive | None = None
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = Lora.targets


class DiffusionModel(ModelSection):
    """The denoiser, and which of its weights may move.

    `weights` is a folder of diffusers (unet/ or transformer/, scheduler/, and what else the pipeline has), or of a run.
    Without it a UNet is trained on the data (`training`), and cached: with `widths` channels, one number a level, or of
    the architecture in the file `config`, as diffusers writes it. With `texts` its conditions are no classes but texts,
    captions or what `data.prompt` makes of a class's name, which a small encoder of random weights reads. `lora` puts
    adapters on pretrained weights, which alone move.
    """

    widths: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    config: ExistingPath | None = None
    texts: bool = False
    lora: LoraSection | None = None


class AttackSection(BaseModel):
    """What whoever wants a forgotten class back has and does; see `unweave.modalities.diffusion.evaluation.Attack`.

    `which` are "search" (a condition is searched while no weight moves), "prompt" (of a model of texts, `tokens` words
    before the text are), "relearning" (all weights are trained on `images` of the class) and "benign" (on images to
    keep).
    """

    model_config = STRICT
    which: Annotated[tuple[Kind, ...], Field(min_length=1, strict=False)] = ("search",)
    images: Count = 20
    search: Count = 60
    search_lr: Positive = 0.1
    looks: Count = 4
    tokens: Count = 5
    lr: Positive = 5e-4
    batch: Count = 64
    drawn: Annotated[int, Field(ge=20, le=100_000)] = 100

    def attack(self, seed: int) -> Attack:
        """As the library writes it."""
        return Attack(**self.model_dump(), seed=seed)


class DiffusionEvaluation(EvaluationSection):
    """Against how many retrained models the end is measured; the second shows the noise of the first.

    `quote` looks at the request before the run, and says afterwards which examples were hardest and which paid: the run
    directory then holds small copies of them.

    `images` are drawn of each class to forget and half as many of each other, in `sampling_steps` passes with
    `guidance` (1 is none); `looks` draws of timestep and noise make the loss of an example. `attacks` on what is left
    of a class, on every model alike, may be none. `judge` may be none: where captions are too many, or too alike, for a
    classifier; what is drawn is then shown, not judged and not attacked.
    """

    images: Annotated[int, Field(ge=20, le=100_000)] = 200
    sampling_steps: Count = 20
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    looks: Count = 10
    judge: Literal["trained", "none"] = "trained"
    attacks: Annotated[AttackSection | None, BeforeValidator(nothing)] = AttackSection()

    @property
    def attack(self) -> Attack | None:
        """As the library writes it."""
        return None if self.attacks is None else self.attacks.attack(self.seed)

    @field_serializer("attacks", when_used="json")
    def _written(self, value: AttackSection | None) -> Any:
        return "none" if value is None else value.model_dump(mode="json")


class DrawnMargins(BaseModel):
    """The gaps to retraining that do not matter, in points: settle them before the first run."""

    model_config = STRICT
    UA_drawn: Points = 5.0
    RA_drawn: Points = 2.0
    MIA_denoising: Points = 5.0
    search: Points = 10.0


class DiffusionEvidence(TrainingsSection):
    """How many models of each kind `unweave evidence` trains and unlearns.

    `runs` original models are trained from seeds of their own, and each is unlearned; `retrained` (as many, and 4 at
    least, without it) are trained without the forget set. `shadows` more are trained and unlearned under coins, for
    U-LiRA: 0 for none, or nine at least. Every attack is made, by whom `evaluation.attacks` describes.
    """

    margins: DrawnMargins = DrawnMargins()
    retain_examples: Annotated[int, Field(ge=20)] = 500


class DiffusionRun(RunSection):
    """The same, with a retain batch of twice the forget batch."""

    forget_batch: Count = 64
    retain_batch: Count = 128


class DiffusionRecipe(Recipe):
    """One run on a diffusion model: data, request, model, method, step length, contract, evaluation.

    The step is Adam's with 5e-4, that of small networks which were trained from nothing: a trust region without a
    metric of its own hardly moves a UNet. For large pretrained models the authors take 1e-5.
    """

    data: DiffusionData
    forget: DiffusionForget | None = None
    requests: tuple[DiffusionForget, ...] = ()
    already: tuple[DiffusionForget, ...] = ()
    model: DiffusionModel = DiffusionModel()
    step: NamedSection = NamedSection(name="adam", lr=5e-4)  # type: ignore[call-arg]
    run: DiffusionRun = DiffusionRun()
    guards: GuardsSection = GuardsSection()
    evaluation: DiffusionEvaluation = DiffusionEvaluation()
    evidence: DiffusionEvidence = DiffusionEvidence()

    def check_models(self) -> None:
        """Refuse weights that are not there (`sections.check_places`)."""
        how = "give the folder of a diffusers pipeline or of a run"
        check_places({"model.weights": self.model.weights}, how)


def faults_of(document: Document) -> list[str]:
    """What is read from a folder has its own architecture; and what the original draws, it draws for one request."""
    found: list[str] = []
    model, data = (each if isinstance(each := document.content.get(name), dict) else {} for name in ("model", "data"))

    def told(what: str, *where: str) -> None:
        found.append(f"{document.place(where)}: {'.'.join(where)}: {what}")

    given = [key for key in ("weights", "config", "widths") if model.get(key) is not None]
    for key in given[1:]:
        told(f"model.{given[0]} has its own, leave it out", "model", key)
    if model.get("texts") is True and (own := next((key for key in ("weights", "config") if key in given), None)):
        told(f"model.{own} says what conditions are, leave it out", "model", "texts")
    if model.get("lora") is not None and model.get("weights") is None:
        told("adapters are for pretrained models: give model.weights", "model", "lora")
    if model.get("lora") is not None and model.get("parameters") is not None:
        told("adapters are what moves, and nothing else: leave one of lora and parameters out", "model", "parameters")
    if data.get("source") == CONCEPTS:
        if model.get("weights") is None:
            told(f"{CONCEPTS} are drawn by the original: give its folder as model.weights", "model")
        for key in (key for key in ("requests", "already") if document.content.get(key)):
            told(f"each would be drawn by what the one before left: give one request of {CONCEPTS} as 'forget'", key)
    return found


def left(model: DiffusionModel, folder: Path) -> DiffusionModel:
    """The same model with the weights that a run left."""
    return model.model_copy(update={"weights": folder, "widths": None, "config": None, "texts": False, "lora": None})
