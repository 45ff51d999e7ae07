"""The words of `unweave requests`: arguments, options and help; what they do is imported when one is given."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from unweave.commands.plain import App

requests = App(help="Deletion requests on record: from the day they come to a certificate or a rejection.")
Folder = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="Of the ledger.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", envvar="UNWEAVE_LEDGER_KEY", help="The ledger's key, if it is kept apart."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A case number, never a name.", show_default=False)]
_HERE = Path("ledger")


@requests.callback()
def told(context: typer.Context) -> None:
    """Warnings are said as plain lines."""
    from unweave.commands.progress import speaking

    context.with_resource(speaking())


_DATE = ["%Y-%m-%d"]


@requests.command("add")
def add(
    name: Id,
    classes: Annotated[list[str] | None, typer.Option("--class", metavar="CLASS", help="All of this class.")] = None,
    rows: Annotated[Path | None, typer.Option(metavar="FILE", help="Row numbers: .txt, .csv, .json or .npy.")] = None,
    ids: Annotated[Path | None, typer.Option(metavar="FILE", help="Ids of records: .txt, .csv or .json.")] = None,
    of: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --ids: all training records' ids, in order; or the texts.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --of, a table: the column with the ids, if it is not id.")
    ] = None,
    received: Annotated[
        datetime | None, typer.Option(formats=_DATE, metavar="YYYY-MM-DD", help="Today, if not given.")
    ] = None,
    due: Annotated[
        datetime | None, typer.Option(formats=_DATE, metavar="YYYY-MM-DD", help="30 days later, if not given.")
    ] = None,
    basis: Annotated[str, typer.Option(metavar="TEXT", help="On what grounds.")] = "",
    note: Annotated[str, typer.Option(metavar="TEXT", help="Stays for good: nothing personal belongs in it.")] = "",
    ledger: Folder = _HERE,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Record a request: which records, from when, until when. The first one begins the ledger."""
    from unweave.commands import requests as command

    what = command.Wanted(name, tuple(classes or ()), rows, ids, of, column, received, due, basis, note)
    command.add(ledger, key, what, as_json=as_json)


@requests.command("list")
def list_(
    status: Annotated[
        Literal["open", "running", "certified", "carried out", "covered", "rejected"] | None,
        typer.Option(metavar="STATE", help="Open, running, certified, carried out, covered or rejected."),
    ] = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Only those that wait and whose due date is past.")
    ] = False,
    ledger: Folder = _HERE,
    as_json: AsJson = False,
) -> None:
    """List requests by due date: where each stands, and which are overdue."""
    from unweave.commands import requests as command

    command.list_(ledger, status, overdue=overdue, as_json=as_json)


@requests.command("show")
def show(name: Id, ledger: Folder = _HERE, as_json: AsJson = False) -> None:
    """Show a request, and its certificate or why it was rejected."""
    from unweave.commands import requests as command

    command.show(ledger, name, as_json=as_json)


@requests.command("run")
def run(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE.yaml]", help="All but 'forget'.", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ID", help="This request; all without it.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a key of the recipe.")
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One run for all of them, not one after another.")
    ] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up the batch that is under way.")] = False,
    ledger: Folder = _HERE,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Carry out open requests together; each ends in a certificate or a rejection (exit code 3 if any is rejected).

    After Ctrl-C, a crash or a kill: `unweave requests run` alone goes on where it was.
    """
    from unweave.commands import requests as command

    how = command.How(only or [], together, abandon)
    code = command.run(ledger, key, recipe, overrides or [], how, as_json=as_json)
    raise typer.Exit(code)


@requests.command("attest")
def attest(
    name: Id,
    evidence: Annotated[
        Path, typer.Option(metavar="PATH", help="evidence.json, or the folder that holds it.", show_default=False)
    ],
    ledger: Folder = _HERE,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Put evidence over several trainings on record for a certified request: `unweave evidence RUNDIR` collects it.

    Exit code 2: it is not about the certified weights and records. 3: it speaks against the claim, and is on record.
    """
    from unweave.commands import requests as command

    raise typer.Exit(command.attest(ledger, key, name, evidence, as_json=as_json))


@requests.command("reject")
def reject(
    name: Id,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is not carried out.", show_default=False)],
    ledger: Folder = _HERE,
    key: KeyFile = None,
) -> None:
    """Close an open request that is not to be carried out, with the reason."""
    from unweave.commands import requests as command

    command.reject(ledger, key, name, reason)


@requests.command("annul")
def annul(
    entries: Annotated[list[int], typer.Argument(metavar="ENTRY...", help="Numbers of entries.", show_default=False)],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why they do not count.", show_default=False)],
    ledger: Folder = _HERE,
    key: KeyFile = None,
) -> None:
    """Set entries aside that nobody can read, or requests that were never to be there; they stay on record.

    `unweave requests verify` names such entries. What was carried out cannot be annulled.
    """
    from unweave.commands import requests as command

    command.annul(ledger, key, entries, reason)


@requests.command("verify")
def verify(
    head: Annotated[
        list[str] | None, typer.Option(metavar="HASH", help="Of an entry, known from elsewhere: it has to be there.")
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Is this model a certified one, wherever it lies?")
    ] = None,
    ledger: Folder = _HERE,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Find every edited, missing or reordered entry, and every model that is not the certified one.

    Exit code 0: everything is as it was written. 3: something speaks against the ledger. 2: something is not there to
    be checked.
    """
    from unweave.commands import requests as command

    raise typer.Exit(command.verify(ledger, key, head or [], model or [], as_json=as_json))
