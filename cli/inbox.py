"""`upgradepath inbox` and `upgradepath outdated`: what concerns a Project, and who is behind."""

from typing import Annotated

import typer

from cli.answers import OutdatedRow
from cli.asking import AsJson, ProjectArgument, asks
from cli.client import Server
from cli.output import line, note, say, show_json, table, text
from shared.contracts.notifications import Notification

CHANGE_STYLES = {
    "patch": "green",
    "minor": "yellow",
    "major": "bold red",
    "first": "cyan",
    "added": "bold cyan",
    "removed": "bold magenta",
}


@asks()
def inbox(
    server: Server,
    project: ProjectArgument,
    everything: Annotated[bool, typer.Option("--all", help="Closed notifications too, with why.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a Project has been told of new releases."""
    document = server.read_all("notifier", "inbox", project, state=None if everything else "open")
    if as_json:
        show_json(document)
        return
    notifications = [Notification.model_validate(row) for row in document]
    if not notifications:
        note(f"nothing new for {project}")
        return
    for notification in notifications:
        _print(notification)
    offered = [one.system for one in notifications if one.state == "open"]
    if offered:
        say(line(text("next: ", "dim"), f"upgradepath plan create {project} {' '.join(offered)}"))


@asks()
def outdated(
    server: Server,
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which Projects are behind, in which System, by how many versions."""
    document = server.read_all("notifier", "outdated", project=project)
    if as_json:
        show_json(document)
        return
    rows = [OutdatedRow.model_validate(row) for row in document]
    table(
        ("project", "system", "pinned", "newest", "change", "behind", "migration", "required"),
        [
            (
                text(row.project, "bold"),
                row.system,
                row.pinned,
                row.newest if row.signed else line(row.newest, text(" UNSIGNED", "bold red")),
                text(row.change, CHANGE_STYLES[row.change]),
                str(row.behind),
                "yes" if row.migration_required else "no",
                text("required", "bold red") if row.required else "no",
            )
            for row in rows
        ],
        empty="everything is up to date",
    )


def _print(notification: Notification) -> None:
    head = line(
        text(f"{notification.system} {notification.version}", "bold"),
        f"  pinned {notification.pinned}  ",
        text(notification.change, CHANGE_STYLES[notification.change]),
        "  migration required" if notification.migration_required else "  no migration",
    )
    if notification.required:
        head.append("  required", "bold red")
    if not notification.signed:
        head.append("  UNSIGNED", "bold red")
    if notification.state != "open":
        head.append(f"  {notification.state}", "dim")
        head.append(f": {notification.reason}" if notification.reason else "", "dim")
    say(head, *(line(text("  breaking: ", "bold yellow"), sentence) for sentence in notification.breaking))
    say(*(f"  {sentence}" for sentence in notification.what_changed))
