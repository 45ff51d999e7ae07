"""Do the tests see it when the core is wrong? Makes small errors, one at a time, and lists those that no test sees.

A comparison is moved or turned, an operator, a constant, a condition changed, a statement left out; the tests that
guard the module run on a copy of the tree, and a mutant that they all let pass has survived. docs/mutants.md judges
the survivors. Each module's tests run once without an error, to see which lines each of them reaches: a mutant meets
those that reach its lines, the fastest first (where none does, or the line runs at import, all of them).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GUARDS = {  # what is mutated: the tests that guard it, from the narrowest
    "rules": "tests/rules tests/reference",
    "gramian.py": "tests/test_gramian.py tests/test_gramian_scales.py tests/rules/test_collinear.py "
    "tests/rules/test_hamu_optimality.py tests/distributed",
    "trust.py": "tests/trust tests/loop tests/rules/test_auto.py",
    "objectives.py": "tests/objectives tests/trust tests/loop",
    "contract": "tests/contract tests/run/test_contract.py",
    "samples.py": "tests/contract tests/diagnosis tests/api/test_labels.py",
    "ledger/chain.py": "tests/ledger/test_chain.py tests/ledger/test_edits.py tests/ledger/test_ledger.py "
    "tests/ledger/test_kills.py",
    "evaluation/membership.py": "tests/evaluation/test_membership.py tests/evaluation/test_published_faults.py "
    "tests/evaluation/test_scores.py",
}
PRELOADED = ("torch", "numpy", "scipy.optimize", "scipy.stats", "sklearn.svm", "accelerate", "transformers", "pytest")
COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
PAIRS = "min max, any all, floor ceil, FORGET RETAIN, clamp_min clamp_max, amin amax, log log1p, exp expm1, left right"
SWAPPED = {a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
UNTOUCHED = {"repr", "strict", "kw_only", "eq", "frozen", "init"}  # keywords that no value depends on


@dataclass(frozen=True)
class Mutant:
    """One error: in which file, which text stands in place of which, and what became of it."""

    file: str
    line: int
    column: int
    end: tuple[int, int]
    old: str
    new: str
    late: bool  # it runs in a function, not at import
    tree: str  # of the file's text

    @property
    def key(self) -> str:
        """What tells it from all others, and from those of another text."""
        return f"{self.tree} {self.line}:{self.column}-{self.end} {hashlib.sha256(self.new.encode()).hexdigest()[:12]}"

    def of(self, source: str) -> str:
        """The file with the error in it."""
        lines = source.encode().splitlines(keepends=True)
        last, column = self.end
        rest = lines[last - 1][column:]
        first = lines[self.line - 1][: self.column]
        return b"".join([*lines[: self.line - 1], first, self.new.encode(), rest, *lines[last:]]).decode()


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """All of a file, in the order of its text."""
    seal, lines = hashlib.sha256(source.encode()).hexdigest()[:12], source.encode().splitlines(keepends=True)
    for node, late in _nodes(ast.parse(source), False):
        first, (last, column) = node.lineno, (end := (node.end_lineno, node.end_col_offset))
        cut = len(lines[last - 1]) - column
        old = b"".join(lines[first - 1 : last])[node.col_offset : -cut or None].decode()
        for new in _variants(node):
            yield Mutant(file, first, node.col_offset, end, old, new, late, seal)


def _nodes(node: ast.AST, late: bool) -> Iterator[tuple[Any, bool]]:
    """What may be mutated: no annotation, no message, no protocol."""
    for name, value in ast.iter_fields(node):
        inside = late or (isinstance(node, ast.FunctionDef) and name == "body")
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name in ("annotation", "returns", "decorator_list", "pattern"):
                continue
            if isinstance(child, ast.JoinedStr) or (isinstance(child, ast.keyword) and child.arg in UNTOUCHED):
                continue
            if isinstance(child, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in child.bases):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.stmt | ast.expr):
                yield child, inside
            if not isinstance(child, ast.Raise):
                yield from _nodes(child, inside)


def _variants(node: Any) -> Iterator[str]:
    """The texts that may stand in place of a node."""
    match node:
        case ast.Compare():
            for place, op in enumerate(node.ops):
                for other in COMPARED[type(op)]:
                    ops = [other() if i == place else o for i, o in enumerate(node.ops)]
                    yield f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
        case ast.BinOp() if type(node.op) in OPERATORS and not isinstance(node.left, ast.JoinedStr):
            yield f"({ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))})"
            if isinstance(node.op, ast.Mult):
                yield f"({ast.unparse(node.left)})"
                yield f"({ast.unparse(node.right)})"
        case ast.Call(func=ast.Name(id="min" | "max"), args=[first, second], keywords=[]):
            yield f"({ast.unparse(first)})"
            yield f"({ast.unparse(second)})"
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
            return  # an axis: of two, the last is 1 as well
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.BoolOp():
            other_way = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"({ast.unparse(ast.BoolOp(other_way, node.values))})"
            for place in range(len(node.values)):
                rest = node.values[:place] + node.values[place + 1 :]
                yield f"({ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))})"
        case ast.IfExp():
            yield f"({ast.unparse(node.body)})"
            yield f"({ast.unparse(node.orelse)})"
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int(number)):
            yield repr(number + 1)
        case ast.Constant(value=float(number)):
            yield repr(2 * number or 1.0)
        case ast.Name() if node.id in SWAPPED and isinstance(node.ctx, ast.Load):
            yield SWAPPED[node.id]
        case ast.Attribute() if node.attr in SWAPPED and isinstance(node.ctx, ast.Load):
            yield ast.unparse(ast.Attribute(node.value, SWAPPED[node.attr], ast.Load()))
        case ast.If() | ast.While() if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            header = ast.unparse(node).replace(ast.unparse(node.test), f"(not ({ast.unparse(node.test)}))", 1)
            yield header.replace("\n", "\n" + " " * node.col_offset)
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.Return() if node.value is not None and not isinstance(node.value, ast.Constant):
            yield "return None"


class Watch:
    """A plugin of pytest: keeps the chosen tests, in the given order; or notes how long and where each of them ran."""

    def __init__(self, chosen: list[str] | None, path: str) -> None:
        self.chosen, self.path = chosen, path
        self.seen: dict[str, tuple[float, set[int]]] = {}
        self.lines: set[int] = set()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Of a baseline all, of a mutant those that can see it."""
        if self.chosen is not None:
            rank = {name: place for place, name in enumerate(self.chosen)}
            items[:] = sorted((i for i in items if i.nodeid in rank), key=lambda item: rank[item.nodeid])

    def pytest_runtest_logstart(self) -> None:
        """A test begins."""
        self.began, self.lines = time.perf_counter(), set()
        if self.chosen is None:
            sys.settrace(self._called)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended."""
        sys.settrace(None)
        self.seen[nodeid] = (time.perf_counter() - self.began, self.lines)

    def _called(self, frame: Any, event: str, arg: Any) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename == self.path else None

    def _line(self, frame: Any, event: str, arg: Any) -> Callable[..., Any]:
        if event == "line":
            self.lines.add(frame.f_lineno)
        return self._line


class Copy:
    """A copy of the tree, in which errors are made."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in files.splitlines():
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.root / name)
        os.environ.setdefault("UNWEAVE_VECTORS", str(ROOT.parent / "shared" / "vectors"))
        os.environ.update(PYTHONPATH=str(self.root / "src"), UNWEAVE_CACHE=str(folder / "cache"))
        for name in PRELOADED:
            with suppress(ImportError):
                importlib.import_module(name)

    def path(self, file: str) -> Path:
        """Of a module."""
        return self.root / "src" / "unweave" / file

    def ran(self, tests: list[str], watch: Watch, seconds: float, *, keep: bool = False) -> tuple[str, Any]:
        """Runs tests in a process of their own: `passed`, `failed` or `late`, and what was watched, if it is kept."""
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            code = 3
            try:
                os.setsid()
                code = self._inside(tests, watch, keep, write)
            except BaseException:  # a child never goes on in its parent's place
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(write)
        ends = time.monotonic() + seconds
        with suppress(ProcessLookupError):
            while keep is False and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() > ends:
                    os.killpg(child, signal.SIGKILL)
                    break
                time.sleep(0.01)
        with os.fdopen(read) as pipe:
            text = pipe.read() if keep else ""
        late = time.monotonic() > ends
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what a test left behind
        return ("late" if late else "failed" if status else "passed"), json.loads(text or "null")

    def _inside(self, tests: list[str], watch: Watch, keep: bool, write: int) -> int:
        import pytest

        os.chdir(self.root)
        sys.path.insert(0, str(self.root / "src"))
        sys.dont_write_bytecode = not keep
        if not keep:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        quiet = os.open(os.devnull if not keep else self.root.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        options = ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        options.append(f"--basetemp={self.root.parent / 'tests'}")
        code = int(pytest.main([*options, *tests], [watch]))
        if keep:
            with os.fdopen(write, "w") as pipe:
                json.dump({name: [taken, sorted(lines)] for name, (taken, lines) in watch.seen.items()}, pipe)
        return code


def judged(
    copy: Copy, file: str, tests: list[str], chosen: list[Mutant], slowest: float
) -> Iterator[tuple[Mutant, str]]:
    """What the tests say of every chosen mutant of a file."""
    path = copy.path(file)
    source = path.read_text()
    present = [test for test in tests if (copy.root / test).exists()]
    verdict, seen = copy.ran(present, Watch(None, str(path)), 3600, keep=True)
    if verdict != "passed" or not seen:
        sys.exit(f"{file}: its tests fail without an error in it:\n{(copy.root.parent / 'log').read_text()[-2000:]}")
    order = sorted((name for name in seen if seen[name][0] < slowest), key=lambda name: seen[name][0])
    reached = {name: set(seen[name][1]) for name in order}
    for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        cached.unlink()
    for mutant in chosen:
        lines = set(range(mutant.line, mutant.end[0] + 1))
        meets = [name for name in order if mutant.late and lines & reached[name]] or order
        path.write_text(mutant.of(source))
        allowed = 15 + 5 * sum(seen[name][0] for name in meets)
        yield mutant, copy.ran(sorted({name.split("::")[0] for name in meets}), Watch(meets, ""), allowed)[0]
    path.write_text(source)


def files(copy: Copy, only: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Every file that is asked for, with the tests that guard it."""
    for name, guards in GUARDS.items():
        for path in sorted(copy.path("").glob(f"{name}/*.py")) or [copy.path(name)]:
            file = str(path.relative_to(copy.path("")))
            if any(file == part or file.startswith(f"{part}/") for part in only):
                yield file, guards.split()


def main() -> None:
    """Reads the command line, runs, prints the survivors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(GUARDS), help=f"of {' '.join(GUARDS)}, or files in them")
    parser.add_argument("--sample", type=int, default=10**9, help="at most so many mutants of a file, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--slowest", type=float, default=3.0, help="leave tests out that take so many seconds")
    parser.add_argument("--out", type=Path, default=ROOT / "build/mutants.jsonl", help="a run goes on where it ends")
    parser.add_argument("--again", action="store_true", help="run those that have survived once more")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.touch()
    known = {row["mutant"]: row["verdict"] for row in map(json.loads, asked.out.read_text().splitlines())}
    total, survivors = 0, list[Mutant]()
    with tempfile.TemporaryDirectory() as folder, asked.out.open("a") as out:
        copy = Copy(Path(folder))
        for file, guards in files(copy, asked.only):
            every = list(mutants(file, copy.path(file).read_text()))
            draw = random.Random(f"{asked.seed} {file}")
            chosen = [every[n] for n in sorted(draw.sample(range(len(every)), min(asked.sample, len(every))))]
            again = {"passed", None} if asked.again else {None}
            new, began = [m for m in chosen if known.get(m.key) in again], time.monotonic()
            for mutant, verdict in judged(copy, file, guards, new, asked.slowest) if new else ():
                row = {"mutant": mutant.key, "verdict": verdict, **asdict(mutant)}
                print(json.dumps(row), file=out, flush=True)
                known[mutant.key] = verdict
            left = [mutant for mutant in chosen if known[mutant.key] == "passed"]
            total, survivors = total + len(chosen), survivors + left
            print(f"{file}: {len(chosen)} mutants, {len(left)} survived ({time.monotonic() - began:.0f} s)", flush=True)
    for mutant in survivors:
        old, new_text = (" ".join(text.split())[:100] for text in (mutant.old, mutant.new))
        print(f"  {mutant.file}:{mutant.line}  {old}  ->  {new_text}")
    print(f"{total} mutants, {len(survivors)} survived")


if __name__ == "__main__":
    main()
