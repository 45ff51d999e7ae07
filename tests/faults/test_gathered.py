"""Several faults are told at once, and what to do about them once."""

from __future__ import annotations

import pytest

from unweave.errors import ConfigurationError, gathered, of_set


def fault(text: str, advice: str = "") -> None:
    raise ConfigurationError(text, advice=advice)


def test_advice_is_kept_once_and_is_no_fault() -> None:
    with pytest.raises(ConfigurationError) as caught:
        gathered(lambda: fault("a", "do x"), lambda: fault("b"), lambda: fault("c", "do x"), lambda: 1)
    assert caught.value.faults == ["a", "b", "c"] and caught.value.advice == "do x"
    assert str(caught.value).splitlines() == ["a", "b", "c", "do x"]
    with pytest.raises(ConfigurationError) as caught, of_set("forget"):
        fault("a", "do x")
    assert caught.value.faults == ["forget: a"] and caught.value.advice == "do x"
