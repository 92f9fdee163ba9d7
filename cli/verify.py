"""`upgradepath verify FILE…`: whether exported papers are proven and belong together; asks nobody."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import line, say, show_json, text
from cli.signing import KeysOption, library_keys, service_public_keys
from cli.tracing import Trusted, read_papers, trace


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            exists=True,
            dir_okay=False,
            help="A package, and what `release export`, `plan export`, `run export` and"
            " `version-map export` wrote.",
        ),
    ],
    keys: KeysOption,
    service_keys: Annotated[
        Path,
        typer.Option(
            "--service-keys", metavar="FILE", exists=True, help="The services' public keys: services.json."
        ),
    ],
    alone: Annotated[
        bool, typer.Option("--alone", help="Verify each plan, run and version map by itself; no links.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Trace a release offline: signature, package, plan, candidate, approvals, deploy, version map.

    Ends with 1 if a file proves nothing, or a link between two of them does not hold.
    """
    trusted = Trusted(library_keys(keys), service_public_keys(service_keys))
    papers, faults = read_papers([(file.name, file.read_bytes()) for file in files], trusted)
    links = [] if alone else list(trace(papers, trusted))
    found = [*((False, fault) for fault in faults), *links]
    if as_json:
        show_json([{"holds": holds, "what": what} for holds, what in found])
    else:
        marks = {True: text("holds  ", "green"), False: text("FAULT  ", "bold red")}
        say(*(line(marks[holds], what) for holds, what in found))
        if alone and not faults:
            say(line(text("good: ", "bold green"), f"each of {len(files)} files is proven"))
    if not all(holds for holds, _ in found):
        raise typer.Exit(1)
