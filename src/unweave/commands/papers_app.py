"""The words of `unweave papers`: arguments, options and help; what they do is imported when one is given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from unweave.commands.plain import App

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

papers = App(
    no_args_is_help=False,
    invoke_without_command=True,
    help="The experiments of the papers: what each needs, and one of them run to its page.",
)


@papers.callback()
def papers_listed(context: typer.Context, as_json: AsJson = False) -> None:
    """List the experiments of the papers, or run one."""
    if context.invoked_subcommand is None:
        from unweave.commands import papers as command

        command.listed(as_json=as_json)


@papers.command("run")
def papers_run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As listed, or a .yaml file.", show_default=False)],
    scale: Annotated[Literal["small", "paper"], typer.Option(metavar="small|paper", help="Of which size.")] = "small",
    own: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="MODULE:FUNCTION", help="A method of yours, in every table; repeat it."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Check every recipe, say what it costs, run nothing.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a key of every recipe, such as run.steps=50."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train what is missing, run all rows of a table, and leave one page; the same command does what is left."""
    from unweave.commands import papers as command

    code = command.main(name, scale, output, overrides or [], own=own or [], dry=dry, as_json=as_json)
    raise typer.Exit(code)
