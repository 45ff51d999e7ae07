"""The command: what `unweave --help` lists."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

import typer

from unweave.commands import machine
from unweave.commands.papers_app import papers
from unweave.commands.plain import App
from unweave.commands.requests_app import requests
from unweave.commands.tune_app import Cluster, tune
from unweave.errors import ConfigurationError, UnweaveError

T = TypeVar("T")
app = App(
    name="unweave",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _seed(given: int | None) -> int | None:
    if given is not None and not 0 <= given < 2**63:
        raise typer.BadParameter(f"{given} is not in the range 0<=x<2^63.")
    return given


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A recipe.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a key, such as contract.keep.0.absolute=0.05."),
]
Few = Annotated[bool, typer.Option("--few", help="Go on with fewer than 20 examples, and say how little they show.")]
All = Annotated[bool, typer.Option("--all", help="Print every score, also those that decide nothing or are undefined.")]
RecipeOrRun = Annotated[
    Path, typer.Argument(metavar="RECIPE.yaml|DIR", help="A recipe, or the directory of a run.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Seed = Annotated[int, typer.Option(callback=_seed, metavar="N", help="Seed of everything.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"unweave {version('unweave')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Remove the influence of chosen training data from a PyTorch model, and measure what is left."""


@app.command()
def demo(
    output: Output = None,
    seed: Seed = 0,
    request: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this one: noise, class or random; repeat it.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this one; repeat it.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of every method, at most.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of every training.")] = None,
    text: Annotated[bool, typer.Option("--text", help="People that a small language model knows, not digits.")] = False,
    drawn: Annotated[bool, typer.Option("--drawn", help="A digit that a small diffusion model draws.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget wrong labels, a class and a random tenth of the digits, and compare with retraining."""
    from unweave.commands import demo as command

    chosen = {"requests": request or [], "methods": method or []}
    command.main(output, text=text, drawn=drawn, **chosen, seed=seed, steps=steps, epochs=epochs, as_json=as_json)


@app.command()
def run(
    recipe: RecipeOrRun,
    overrides: Overrides = None,
    output: Output = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Do what is left of a run that was interrupted or killed.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the run directory holds.")] = False,
    everything: All = False,
    as_json: AsJson = False,
) -> None:
    """Unlearn as a recipe says, and leave a run directory with the model, the scores and a report.

    A run directory stands for the recipe in it: `unweave run --resume DIR` goes on exactly where DIR's run was ended.
    """
    from unweave.commands import run as command

    code = command.main(
        recipe, overrides or [], output, resume=resume, overwrite=overwrite, everything=everything, as_json=as_json
    )
    raise typer.Exit(code)


@app.command()
def diagnose(recipe: RecipeFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say how hard a request is and what it will cost, without changing a weight."""
    from unweave.commands import diagnose as command

    command.main(recipe, overrides or [], as_json=as_json)


@app.command()
def evaluate(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="A run directory, a folder of weights, or images' .safetensors.", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="RECIPE.yaml", help="Of the data and request.")
    ] = None,
    logs: Annotated[
        list[Path] | None,
        typer.Option("--logs", metavar="FILE", help="A text model's values per example; the retrained one's second."),
    ] = None,
    compat: Annotated[
        Literal["open-unlearning", "tofu", "muse"] | None,
        typer.Option(
            metavar="open-unlearning|tofu|muse",
            help="Of --logs: form the numbers as that code does, its known faults included.",
        ),
    ] = None,
    overrides: Overrides = None,
    everything: All = False,
    as_json: AsJson = False,
) -> None:
    """Score a saved model on what it should have forgotten, what it should have kept, and unseen data."""
    if (model is None) == (not logs):
        raise ConfigurationError("evaluate: expected a MODEL or --logs FILE, found " + ("both" if logs else "neither"))
    if logs:
        from unweave.commands import logs as sheets

        return sheets.main(logs, compat, as_json=as_json)
    if compat:
        raise ConfigurationError("evaluate: --compat is for --logs; of a MODEL it is  -s evaluation.compat=" + compat)
    from unweave.commands import evaluate as command

    assert model is not None
    command.main(model, recipe, overrides or [], everything=everything, as_json=as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="A new folder for the model.")],
    merge: Annotated[bool, typer.Option("--merge", help="Add LoRA adapters into the weights under them.")] = False,
    gguf_ready: Annotated[
        bool, typer.Option("--gguf-ready", help="Merge, and check what a converter to GGUF asks for.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        typer.Option(metavar="float32|float16|bfloat16", help="Of the written weights; without it as they are."),
    ] = None,
    scores: Annotated[bool, typer.Option(help="Score what was written, also in 8 and 4 bits.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's model for other servers, and say what rounding its weights to 8 and 4 bits brings back."""
    from unweave.commands import export as command

    command.main(
        run,
        output,
        merge=merge,
        gguf_ready=gguf_ready,
        dtype=dtype,
        scores=scores,
        overwrite=overwrite,
        as_json=as_json,
    )


@app.command()
def evidence(
    recipe: RecipeOrRun,
    overrides: Overrides = None,
    output: Output = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="MODEL", help="Weights that never saw the forget set, instead of retraining; repeat it."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; 1 a core, or 1 on a GPU.")] = None,
    cluster: Cluster = None,
    few: Few = False,
    as_json: AsJson = False,
) -> None:
    """Train several models, unlearn several, attack them all, and say what claim that supports.

    Of the directory of a finished run, the first of the unlearned models is the one that lies there.
    How many of each: -s evidence.runs=3 -s evidence.retrained=8; 2 at least of each.
    What was trained is kept: after Ctrl-C or a kill the same command does what is left. Exit code 3: something speaks
    against the method.
    """
    from unweave.commands import evidence as command

    code = command.main(
        recipe,
        overrides or [],
        output,
        references=reference or [],
        workers=workers,
        cluster=cluster,
        few=few,
        as_json=as_json,
    )
    raise typer.Exit(code)


app.command()(tune)
app.add_typer(papers, name="papers")


audit = App(
    help="Check unlearning by coins: draw which records are trained on, and test afterwards whether anything tells.",
)
app.add_typer(audit, name="audit")


@audit.command("plan")
def audit_plan(
    canaries: Annotated[Path, typer.Argument(metavar="FILE", help="Ids of the audit records: .txt, .csv or .json.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")],
    base: Annotated[Path | None, typer.Option(metavar="FILE", help="Ids that are trained on in any case.")] = None,
    seed: Annotated[
        int | None, typer.Option(callback=_seed, metavar="N", help="Of the coins; without it a fresh one.")
    ] = None,
    guesses: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Canaries that are guessed; all without it.")
    ] = None,
    level: Annotated[float, typer.Option(metavar="P", help="Error probability of the test.")] = 0.05,
    delta: Annotated[float, typer.Option(metavar="P", help="Of (epsilon, delta).")] = 0.0,
    form: Annotated[
        Literal["csv", "json"], typer.Option("--format", metavar="csv|json", help="Of the two lists.")
    ] = "csv",
    few: Few = False,
    as_json: AsJson = False,
) -> None:
    """Draw a coin for every audit record, and write the list to train on and the one to unlearn."""
    from unweave.commands import audit as command

    command.plan(
        canaries,
        base,
        output,
        seed=seed,
        guesses=guesses,
        level=level,
        delta=delta,
        form=form,
        few=few,
        as_json=as_json,
    )


@audit.command("judge")
def audit_judge(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Of the plan.", show_default=False)],
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="id,score of every canary: .csv or .json.")],
    lower: Annotated[bool, typer.Option("--lower", help="A lower score says member, as a loss does.")] = False,
    few: Few = False,
    as_json: AsJson = False,
) -> None:
    """Test whether any attack's scores predict the coins; exit code 3 if they do."""
    from unweave.commands import audit as command

    raise typer.Exit(command.verdict(directory, scores, lower=lower, few=few, as_json=as_json))


app.add_typer(requests, name="requests")


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Of a run or a demo; of several runs.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Of a comparison.")] = None,
) -> None:
    """Rebuild the HTML page of a run directory; of several, write one page that compares them."""
    from unweave.report import build, overview

    if len(directories) > 1:
        return typer.echo(overview.compare(directories, output or Path("comparison.html")))
    if output is not None:
        raise ConfigurationError("report: --output is for a comparison; one run's page is report.html in its directory")
    typer.echo(build.build(directories[0]))


@app.command()
def board(folder: Annotated[Path, typer.Argument(metavar="DIR", help="With run directories in it.")]) -> None:
    """List all runs of a folder on one page, board.html in it."""
    from unweave.report import overview

    typer.echo(overview.board(folder))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One method, with its hyperparameters.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the catalogue: every method and its paper."""
    from unweave.commands import methods as command

    command.main(name, as_json=as_json)


@app.command()
def metrics(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One score, in full.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what every score is: which way is right, its range, what was repeated, its needs, its null level."""
    from unweave.commands import metrics as command

    command.main(name, as_json=as_json)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; what the user can mend is one message on stderr and exit code 2, the machine's faults are 1."""
    given = sys.argv[1:] if arguments is None else arguments
    _printable()
    _saying()
    if _faults(lambda: machine.shared(given)):
        from unweave import ranks

        with ranks.together():
            _faults(lambda: app(arguments))
    _faults(lambda: app(arguments))


def _faults(do: Callable[[], T]) -> T:
    """What it gives; what goes wrong is told, and ends the process."""
    try:
        return do()
    except UnweaveError as error:
        faults = [text] if (text := machine.fault(error)) else getattr(error, "faults", [str(error)])
        head = "error: " if len(faults) == 1 else f"error: {len(faults)} faults\n  "
        advice = "" if text else getattr(error, "advice", "")
        sys.stderr.write(head + "\n  ".join([*faults, *filter(None, [advice])]) + "\n")
        raise SystemExit(1 if text else 2) from None
    except KeyboardInterrupt:  # before or after the work that a command can go on with
        _interrupted()
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):  # typer saw it first
            _interrupted()
        raise
    except Exception as error:
        text = machine.fault(error)
        if not text and isinstance(error, OSError) and error.filename is not None:
            sys.stderr.write(f"error: {error.filename}: {error.strerror or error}\n")
            raise SystemExit(2) from None
        if not text:
            raise
        sys.stderr.write(f"error: {text}\n")
        raise SystemExit(1) from None


class _Said(logging.Handler):
    """What a run says before it begins, such as which files of the user's it executes: a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """As it is."""
        sys.stderr.write(f"{record.getMessage()}\n")


def _saying() -> None:
    log = logging.getLogger("unweave.said")
    log.setLevel(logging.INFO)
    if not any(isinstance(each, _Said) for each in log.handlers):
        log.addHandler(_Said())


def _printable() -> None:
    """Names of files may be no text, and a terminal may lack a character: such are printed as their escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _interrupted() -> NoReturn:
    sys.stderr.write("interrupted\n")
    raise SystemExit(130) from None
