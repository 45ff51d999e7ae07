"""Through how many files does one recipe go on its way to its report?

    python scripts/recipe_walk.py                       # examples/recipe.yaml, short; prints the files in their order

Counted is every file of the package of which a function is called with the recipe in its hands: the document that was
read, the recipe, or one of its sections, or a list of them; and the command, where the walk begins. Every call of
`unweave run` is looked at, from the command to the page (`sys.setprofile`). tests/test_recipe_walk.py holds the number.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "unweave"
SHORT = ["run.steps=3", "evaluation.retrained=0", "training.epochs=2"]


def visited(recipe: Path, overrides: list[str], folder: Path) -> dict[str, str]:
    """The files, each with the first function that was called with the recipe, in the order of the visits."""
    from pydantic import BaseModel

    from unweave.commands import run
    from unweave.recipe.yaml_lines import Document

    found = {"commands/run.py": "main"}

    def carries(value: Any) -> bool:
        parts = value if isinstance(value, (tuple, list)) else [value]
        return any(isinstance(each, (Document, BaseModel)) for each in parts)

    def look(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)):
            return
        name = Path(code.co_filename).relative_to(PACKAGE).as_posix()
        if name in found:
            return
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(carries(frame.f_locals.get(each)) for each in given):
            found[name] = code.co_qualname

    sys.setprofile(look)
    try:
        run.main(recipe, overrides, folder, resume=False, overwrite=False, as_json=True)
    finally:
        sys.setprofile(None)
    return found


def listed(found: dict[str, str]) -> Iterator[str]:
    for number, (file, function) in enumerate(found.items(), 1):
        yield f"{number:3} {file}: {function}"


if __name__ == "__main__":
    recipe = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "recipe.yaml"
    with tempfile.TemporaryDirectory() as place:
        walk = visited(recipe, SHORT, Path(place) / "run")
    print("\n".join(listed(walk)), file=sys.stderr)
