"""`upgradepath contracts …`: the contracts as documents, for those who do not read Python."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import note, say

app = typer.Typer(
    help="The messages as JSON Schemas and AsyncAPI, and the project file's keys, made from the code."
)

_DOCS = Path(__file__).resolve().parents[1] / "docs" / "contracts"
_PROJECT_FILE = "project-file.md"
Folder = Annotated[Path, typer.Option("--folder", help="Where they lie.")]


@app.command("write")
def write(folder: Folder = _DOCS) -> None:
    """Write every document anew, and remove those of messages that are no more."""
    documents = _documents()
    for path in _there(folder):
        if str(path.relative_to(folder)) not in documents:
            path.unlink()
    for name, text in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    say(f"{len(documents)} documents in {folder}")


@app.command("check")
def check(folder: Folder = _DOCS) -> None:
    """Whether the documents are what the code says; exit 1 when one differs."""
    documents = _documents()
    there = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in _there(folder)}
    wrong = sorted(name for name in documents.keys() | there.keys() if documents.get(name) != there.get(name))
    if wrong:
        note(f"not what the code says: {', '.join(wrong)}")
        note("write them anew: upgradepath contracts write")
        raise typer.Exit(1)
    note(f"{len(documents)} documents are up to date")


def _there(folder: Path) -> list[Path]:
    made = (path for path in sorted(folder.rglob("*")) if path.suffix in {".json", ".yaml"})
    return [*made, *folder.glob(_PROJECT_FILE)]


def _documents() -> dict[str, str]:
    """By path below the folder. Imported late: no other command needs every service."""
    from services.participants import participants
    from shared.contracts.documents import POOL_PARAMETER, asyncapi, json_schemas
    from shared.contracts.project_reference import project_file_reference

    schemas = {f"schemas/{name}": text for name, text in json_schemas().items()}
    return {
        **schemas,
        "asyncapi.yaml": asyncapi(participants((POOL_PARAMETER,))),
        _PROJECT_FILE: project_file_reference(),
    }
