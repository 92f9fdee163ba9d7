"""`upgradepath version-map …`: which version of each System a Project pins, now and before."""

from pathlib import Path
from typing import Annotated

import typer

from cli.asking import AsJson, ProjectArgument, asks
from cli.client import Server
from cli.exporting import OutFolder, keep
from cli.output import show_json, table, text, when
from cli.project import print_version_map
from shared.contracts.version_maps import VersionMap

app = typer.Typer(help="Which version of each System a Project pins.")


@app.command("show")
@asks()
def show(server: Server, project: ProjectArgument, as_json: AsJson = False) -> None:
    """The registry's version map of a Project: the truth, of which version-map.yaml is the copy.

    What the newest Run has changed is marked as updated.
    """
    document = server.read("registry", "version-maps", project)
    if as_json:
        show_json(document)
        return
    version_map = VersionMap.model_validate(document)
    print_version_map(version_map, _updated(version_map, _history(server, project)))


@app.command("history")
@asks()
def history(server: Server, project: ProjectArgument, as_json: AsJson = False) -> None:
    """Every state that the version map had, newest first, and the Run that wrote it."""
    if as_json:
        show_json(server.read_all("registry", "version-maps", project, "history"))
        return
    maps = _history(server, project)
    before = [*maps[1:], None]
    table(
        ("revision", "recorded", "by", "held by", "pins"),
        [
            (
                text(version_map.revision, "bold"),
                when(version_map.recorded_at),
                version_map.run_id or "",
                version_map.held_by or "",
                _changed(version_map, earlier),
            )
            for version_map, earlier in zip(maps, before, strict=True)
        ],
        empty=f"{project} has no version map yet",
    )


@app.command("export")
@asks()
def export(
    server: Server,
    project: ProjectArgument,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="The map that it recorded.")] = None,
    out: OutFolder = Path(),
) -> None:
    """Keep the newest recorded map, or a Run's, in a file that the registry signed."""
    query = {} if run is None else {"run_id": run}
    data = server.read_bytes("registry", "version-maps", project, "signed", **query)
    keep(out, f"{project}.{run or 'newest'}.version-map.dsse.json", data)


def _history(server: Server, project: str) -> list[VersionMap]:
    """Newest first."""
    rows = server.read_all("registry", "version-maps", project, "history")
    return [VersionMap.model_validate(row.get("version_map", row)) for row in rows]


def _updated(version_map: VersionMap, history: list[VersionMap]) -> set[str]:
    """The Systems that the Run which recorded this map has moved."""
    before = next((old for old in history if old.pins != version_map.pins), None)
    if before is None or version_map.run_id is None:
        return set()
    return {system for system, version in version_map.pins.items() if before.pins.get(system) != version}


def _changed(version_map: VersionMap, earlier: VersionMap | None) -> str:
    """The pins that differ from the state before; all of the first state."""
    old = earlier.pins if earlier else {}
    changed = [
        f"{system} {old[system]} → {version}" if system in old else f"{system} {version}"
        for system, version in version_map.pins.items()
        if old.get(system) != version
    ]
    return ", ".join(changed) or "as before"
