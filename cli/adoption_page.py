"""An adoption as people read it: what is there, what is proposed, what is refused and how to go on."""

from typing import TYPE_CHECKING

from cli.output import line, note, refuse, say, text
from cli.world import world_folder
from shared.contracts.projects import PrismaPaths
from shared.project_file import PROJECT_FILE

if TYPE_CHECKING:
    from cli.adoption.outcome import Adoption

_FILES_SHOWN = 10


def show_adoption(found: "Adoption", branch: str) -> None:
    """Everything that was found, proposed and refused, and what is left to do."""
    from cli.adoption.survey import BRANCH

    for system, bases in found.systems.items():
        pinned = found.pins.get(system)
        base = next((each for each in bases if each.version == pinned), bases[0])
        settled = text("pinned  ", "green") if pinned else text("open    ", "yellow")
        say(line(settled, base.said, "" if base.signed else text("  UNSIGNED", "bold red")))
        for what, paths in (("edited by you", base.edited), ("missing", base.missing), ("yours", base.added)):
            say(*(f"          {what}: {path}" for path in paths[:_FILES_SHOWN]))
            if len(paths) > _FILES_SHOWN:
                say(f"          {what}: {len(paths) - _FILES_SHOWN} more")
    for each in found.migrations:
        where = each.migration.folder or "nowhere"
        say(f"applied   {each.migration.system}/{each.migration.name}: {where} ({each.how})")
    if found.prisma != PrismaPaths():
        say(f"prisma    {found.prisma.schemas}, {found.prisma.migrations}")
    for path in found.changed:
        say(f"proposes  {path}")
    if found.differences:
        note("Production's database is not what the schema files describe; it would need:")
        for statement in found.differences:
            say(f"differs   {statement}")
    refuse(found.refusals)
    if found.proposed_masks:
        note(f"masking.toml proposes {found.proposed_masks} mask rules, which mask nothing yet: read them,")
        note("and take the question marks away, or type the command again with --yes")
    if found.unmasked:
        note("Before the first Run, unless staging has a seed file:")
        for finding in found.unmasked:
            say(f"to do     {finding.subject}: {finding.cure}")
    for finding in found.missing:
        say(line(text("missing   ", "yellow"), f"{finding.subject}: {finding.detail}; cure: {finding.cure}"))
    if found.proposal is None:
        return
    for path in found.missing_commands:
        say(
            line(text("to do     ", "yellow"), f"{path} is named in {PROJECT_FILE} and not in the repository")
        )
    if found.missing_commands and world_folder() is not None:
        note("your hosting has to give them; to have the local world host the app: upgradepath hosting")
    if found.registered is None:
        note(f"not registered yet: complete the branch {BRANCH}, push it, and type the same command again")
        return
    say(line(text("registered ", "bold green"), found.project))
    note(
        f"next: merge {BRANCH} into {branch} and push;"
        f" tell Prisma where its schema is: {found.prisma.schemas}"
    )
