"""The words of `unweave tune`: arguments, options and help; what it does is imported when it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Cluster = Annotated[
    str | None, typer.Option(metavar="WHERE", help="Workers elsewhere: tcp://HOST:PORT of Dask, or slurm:FILE.yaml.")
]


def tune(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A recipe.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a key of the recipe, such as run.steps=50."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where to write.")] = None,
    trials: Annotated[int, typer.Option(min=2, metavar="N", help="Settings to try, the recipe's own among them.")] = 20,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="To try; without it the recipe's, or the headline ones.")
    ] = None,
    proxies: Annotated[int, typer.Option(min=1, metavar="K", help="Proxy requests that each is tried on.")] = 2,
    by: Annotated[
        Literal["proxies", "contract"],
        typer.Option(metavar="proxies|contract", help="Judge by distance on proxies, or by the contract's budget."),
    ] = "proxies",
    jobs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Trials at a time, in processes.")] = None,
    cluster: Cluster = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the proxies and of what is tried.")] = 0,
    free: Annotated[bool, typer.Option("--free", help="Try also what the recipe says of method and step.")] = False,
    space: Annotated[bool, typer.Option("--space", help="Print what would be tried, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Search method, its numbers and the step under the contract, without a model retrained for the request.

    Every trial unlearns proxy requests: as many examples in the same mix, among those that are kept. Leaves a tuned
    recipe, its run, and a page that says how many were tried. After Ctrl-C or a kill the same command does what is
    left.
    Exit code 3: no trial met every clause of the contract.
    """
    from unweave.commands import tune as command

    code = command.main(
        recipe,
        overrides or [],
        output,
        trials=trials,
        methods=methods,
        proxies=proxies,
        by=by,
        jobs=jobs,
        cluster=cluster,
        seed=seed,
        free=free,
        space=space,
        as_json=as_json,
    )
    raise typer.Exit(code)
