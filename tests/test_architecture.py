"""The house keeps its shape: dependencies point one way, files stay small, heavy imports come late."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import unweave
from unweave.modalities import MODALITIES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "unweave"

# A room imports from rooms in the lines above its own, and from itself. A new room gets its place here.
LAYERS = [
    {"errors"},
    {"extras", "arguments", "watch", "sharded", "ranks", "devices"},
    {"modules", "store", "precision", "packs"},
    {"gramian", "parameters", "data", "places"},
    {"pretrained", "execution"},
    {"streaming", "curvature"},
    {"tasks"},
    {"objectives", "samples"},
    {"losses", "rules"},
    {"methods", "diagnosis", "edit"},
    {"evaluation"},
    {"contract"},
    {"results"},
    {"callbacks"},
    {"loop"},
    {"trust", "oneshot"},
    {"averages", "testing"},
    {"repair"},
    {"guards", "footprint"},
    {"unlearning"},
    {"recipe"},
    {"modalities"},
    {"run"},
    {"audit"},
    {"ledger"},
    {"report"},
    {"leaves"},
    {"api"},
    {"demos", "papers", "tuning"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RULES_MAY_IMPORT = {"torch", "unweave.rules", "unweave.gramian", "unweave.arguments", "unweave.errors"}
NEVER = {"torchvision", "torchmetrics"}  # one that does not match torch breaks others by being imported
LATE = {"torch", "accelerate", "sklearn", "scipy", "matplotlib", "jinja2", "numpy"}  # --help does without


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def room(module: str) -> str:
    """`rules` for unweave.rules.hamu; the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def module_of(path: Path) -> str:
    return ".".join(("unweave", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            whole_package = node.module == "unweave"
            found |= {f"unweave.{a.name}" for a in node.names} if whole_package else {str(node.module)}
    return found


def test_every_room_has_a_layer_and_dependencies_point_one_way() -> None:
    layer = {name: i for i, names in enumerate(LAYERS) for name in names}
    rooms, wrong, checked = set(), [], 0
    for path in files("src"):
        here = room(module_of(path))
        rooms.add(here)
        if here == "__init__":
            continue
        for module in imports(path):
            if module.split(".")[0] == "unweave" and (there := room(module)) != here:
                checked += 1
                if layer.get(there, len(LAYERS)) >= layer[here]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert rooms - {"__init__"} == set(layer)
    assert not wrong, "\n".join(wrong)
    assert checked


def test_rules_know_torch_and_their_own_maths_only() -> None:
    wrong, checked = [], 0
    for path in files("src/unweave/rules"):
        for module in imports(path):
            checked += 1
            top = ".".join(module.split(".")[:2]) if module.startswith("unweave") else module.split(".")[0]
            if top not in RULES_MAY_IMPORT | sys.stdlib_module_names:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)
    assert checked


def test_nothing_imports_what_breaks_beside_another_torch() -> None:
    every = files("src", "tests", "benchmarks", "examples")
    assert every and not [path for path in every for module in imports(path) if module.split(".")[0] in NEVER]


def test_no_file_holds_more_than_one_thought_can_need() -> None:
    every = files("src", "tests", "benchmarks", "examples")
    lines = {path: len(path.read_text().splitlines()) for path in every}
    assert lines and not {str(path.relative_to(ROOT)): n for path, n in lines.items() if n > 400}


@pytest.mark.parametrize("name", unweave.__all__)
def test_public_names_resolve_and_are_documented(name: str) -> None:
    value = getattr(unweave, name)
    assert name.startswith("__") or name.isupper() or (value.__doc__ or "").strip()
    assert name in dir(unweave), "completion offers it"


def test_the_command_answers_before_anything_heavy_is_imported() -> None:
    code = "import json, sys, unweave.cli; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(answer.stdout))
    assert "unweave" in modules
    assert not modules & LATE


# What is special about a kind of data stands in `modalities`, and about a task in `tasks`. These know one, and why:
KNOW_ONE = {
    "audit": "evidence over several trainings knows what models of a kind say (`audit.kits`)",
    "demos": "a demo is about one kind of data",
    "modalities": "here it stands",
    "tasks/known.py": "asks a task what it says beyond two functions, once for all",
    "losses/_base.py": "refuses a task that has not what a loss is made of, in words that both losses and methods say",
}
CLASSES = {"TextRows", "TensorImages", "TextJob", "ImageJob", "Vision", "Classification", "Language", "Regression"}
WORDS = {word for kind in MODALITIES.values() for word in (kind.name, *kind.sources)} | {"classification", "language"}


def special(code: str) -> list[str]:
    """Where code asks what kind of data or of task it has, instead of letting that say what is wanted."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Compare):
            words = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)} & WORDS
            found += [f"line {node.lineno}: compares with {word!r}" for word in sorted(words)]
        elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant) and node.value.value in WORDS:
            found.append(f"line {node.lineno}: matches {node.value.value!r}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args[1:]:
            subject, asked = (ast.unparse(each) for each in node.args[:2])
            if node.func.id in ("isinstance", "issubclass") and CLASSES & set(re.findall(r"\w+", asked)):
                found.append(f"line {node.lineno}: {node.func.id} of {asked}")
            if node.func.id in ("hasattr", "getattr") and subject.split(".")[-1] == "task":
                found.append(f"line {node.lineno}: {node.func.id} of a task")
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            whole = (
                {f"{node.module}.{alias.name}" for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            )
            own = {name for name in names | whole for kind in MODALITIES if f"modalities.{kind}" in name}
            found += [f"line {node.lineno}: imports {min(own)}"] if own else []
    return found


def test_nothing_but_a_modality_and_a_task_knows_what_is_special_about_it() -> None:
    wrong, checked = [], 0
    for path in files("src"):
        if {room(module_of(path)), path.relative_to(PACKAGE).as_posix()} & KNOW_ONE.keys():
            continue
        checked += 1
        wrong += [f"{path.relative_to(ROOT)}, {told}" for told in special(path.read_text())]
    assert not wrong, "\n".join(wrong)
    assert checked


@pytest.mark.parametrize(
    "code",
    [
        'if recipe.data.source == "digits": pass',
        'found = kind.name in ("texts", "tables")',
        'match source:\n    case "tofu": pass',
        "isinstance(job, ImageJob)",
        "isinstance(data, (Dataset, rows.TextRows))",
        'hasattr(self.task, "logits")',
        'getattr(task, "unit", "nats")',
        "from unweave.modalities.images.job import ImageJob",
        "from unweave.modalities import texts",
        "import unweave.modalities.texts.job",
    ],
)
def test_a_branch_on_a_modality_would_be_found(code: str) -> None:
    assert special(code), code


def test_words_that_are_no_branch_are_none() -> None:
    code = """
SOURCES = {"digits": load}
task: Literal["classification", "language"] = "classification"
if isinstance(batch, Mapping) and batch["texts"] == 3 and hasattr(model, "task"): pass
from unweave.modalities import MODALITIES
"""
    assert special(code) == ["line 4: compares with 'texts'"], "and a key is an exception that nobody needs yet"
