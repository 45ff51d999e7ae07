"""The `contract` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from unweave.contract import Contract, Forget, Keep
from unweave.errors import ConfigurationError

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, ser_json_inf_nan="constants")


class KeepEntry(BaseModel):
    """One keep clause; exactly one of `absolute` and `relative`."""

    model_config = _STRICT
    metric: Literal["accuracy", "loss", "overlap", "perplexity", "recognised"]
    absolute: float | None = None
    relative: float | None = None
    by: Literal["class"] | None = None
    clip: float | None = None

    def clause(self) -> Keep:
        """As the library writes it."""
        return Keep(self.metric, self.absolute, self.relative, self.by, clip=self.clip)

    @model_validator(mode="after")
    def _valid(self) -> Self:
        return _checked(self, self.clause)


class ForgetEntry(BaseModel):
    """One forget clause; `unseen` and `retrained` may be written as words."""

    model_config = _STRICT
    metric: Literal["accuracy", "generated", "loss", "unseen", "retrained"]
    at_most: float | None = None
    at_least: float | None = None
    margin: float | None = None

    def clause(self) -> Forget:
        """As the library writes it."""
        return Forget(self.metric, self.at_most, self.at_least, self.margin)

    @model_validator(mode="after")
    def _valid(self) -> Self:
        return _checked(self, self.clause)


def _word(value: Any) -> Any:
    return {"metric": value} if isinstance(value, str) else value


class ContractSection(BaseModel):
    """Limits for the whole run; what is left out is the default, which is printed.

    `keep: []` is no limit, `forget: []` never ends a run early, and `contract: none` is no contract at all. `tried` is
    written by what chose the settings among so many, by the guard set (`unweave tune`, `method: auto`).
    """

    model_config = _STRICT
    keep: Annotated[tuple[KeepEntry, ...], Field(strict=False)] | None = None
    forget: Annotated[tuple[Annotated[ForgetEntry, BeforeValidator(_word)], ...], Field(strict=False)] | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    shrinks: Annotated[int, Field(ge=0)] = 3
    every: Annotated[int, Field(ge=1)] | None = None
    tried: Annotated[int, Field(ge=1)] = 1

    @field_validator("confidence", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        if isinstance(value, int | float) and 50 <= value < 100:
            raise ValueError(f"a share, less than 1; did you mean {value / 100:g}?")
        return value

    def contract(self) -> Contract:
        """As the library writes it."""
        keep, forget = (
            None if side is None else tuple(entry.clause() for entry in side) for side in (self.keep, self.forget)
        )
        return Contract(keep, forget, self.confidence, self.shrinks, self.every, self.tried)  # type: ignore[arg-type]

    @property
    def asks_retrained(self) -> bool:
        """Whether a retrained model is needed before the first step."""
        return any(entry.metric == "retrained" for entry in self.forget or ())


def _checked(entry: Any, made: Any) -> Any:
    """The entry, if the clause that it makes is one; the clause's faults as the recipe's."""
    try:
        made()
    except ConfigurationError as error:
        raise ValueError("; ".join(fault.partition(": ")[2] or fault for fault in error.faults)) from None
    return entry
