"""The files that make a repository a Project: what is known is filled in, what is not is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cli.adoption.masks import Proposal, masking_text
from cli.adoption.production import still_unmasked
from cli.adoption.survey import BRANCH, Survey
from services.executor.clients.mask_file import MASKING_FILE, PROPOSED, read_masks
from shared.adopted import write_adopted
from shared.clients.git import Git
from shared.contracts.projects import PrismaPaths, ProjectDefinition
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.prisma.mask_words import parse_rule
from shared.project_file import PROJECT_FILE, VERSION_MAP_FILE, read_project_file, write_version_map

_COMMANDS = ("activate", "observe", "health", "destroy", "logs")


Changes = Mapping[str, str | None]
"""Texts by path; none for a file that goes."""


def changes(survey: Survey, project: str, branch: str, masking: str | None = None) -> dict[str, str | None]:
    """What the proposal writes onto the survey's `start`; empty when all of it is there.

    `masking` is the text of `masking.toml`, where there is something to write.
    """
    found = tuple(each.migration for history in survey.histories.values() for each in history.found)
    wanted: dict[str, str | None] = {
        **dict.fromkeys(survey.place.schema),
        **survey.schema,
        VERSION_MAP_FILE: write_version_map(survey.pins),
        survey.place.paths.adopted_file: write_adopted(found),
    }
    if masking is not None:
        wanted[MASKING_FILE] = masking
    if PROJECT_FILE not in survey.files:
        wanted[PROJECT_FILE] = project_file(project, branch, survey.place.paths)
    before = {path: survey.files[path].decode(errors="replace") for path in wanted if path in survey.files}
    return {path: text for path, text in wanted.items() if _bare(text) != _bare(before.get(path))}


@dataclass(frozen=True)
class Masking:
    """The text of `masking.toml` where it changes, and what stays open under it."""

    text: str | None
    open: Sequence[Finding]
    proposed: int
    """Rules that nobody has confirmed yet."""


async def masking(
    survey: Survey, database: str | None, confirm: Callable[[Sequence[Proposal]], bool]
) -> Masking:
    """The proposed rules, in force if a person says so. Without production's database nothing is proposed."""
    if database is None or survey.production.refusals or _has_seed(survey):
        return Masking(None, (), 0)
    proposals = survey.production.proposals
    waiting = [
        Proposal(model, field, word, "proposed before")
        for (model, field), rule in survey.masks.items()
        if rule.endswith(PROPOSED) and (word := parse_rule(rule.removesuffix(PROPOSED))) is not None
    ]
    confirmed = confirm([*waiting, *proposals])
    before = survey.files.get(MASKING_FILE)
    text = None
    if proposals or (confirmed and waiting):
        text = masking_text(None if before is None else before.decode(), proposals, confirmed=confirmed)
    masks = survey.masks if text is None else read_masks(text)
    left = await still_unmasked(database, survey.schema, masks)
    return Masking(text, left, sum(rule.endswith(PROPOSED) for rule in masks.values()))


def _has_seed(survey: Survey) -> bool:
    """Staging's rows are a file of the Project's: nothing is masked."""
    declared = survey.files.get(PROJECT_FILE)
    return declared is not None and read_project_file(declared.decode()).staging.data == "seed"


async def push(git: Git, survey: Survey, changes: Changes, when: int) -> Commit:
    """Put the changes onto the proposal's branch; its head. `when` is in seconds since 1970."""
    if not changes and survey.proposed is not None:
        return survey.proposed
    files = {path: None if text is None else text.encode() for path, text in changes.items()}
    tree = await git.tree_with(survey.start, files)
    pinned = "\n".join(f"{system}: {version}" for system, version in survey.pins.items())
    message = f"Adopt upgradepath\n\nThe Systems as they are installed:\n{pinned}\n"
    commit = await git.commit(tree, [survey.start], message, when=when)
    await git.push([(f"refs/heads/{BRANCH}", commit, survey.proposed)])
    return commit


def _bare(text: str | None) -> str | None:
    return None if text is None else text.removeprefix("\ufeff").replace("\r\n", "\n").strip()


def project_file(project: str, branch: str, prisma: PrismaPaths = PrismaPaths()) -> str:
    """An `upgradepath.toml` with the commands that the partner's hosting has to give."""
    return f"""id = "{project}"
name = "{project}"
# What happens when a stage fails: "wait" for the maintainer, or "roll-back".
on_failure = "wait"
{_prisma(prisma)}
# What customers use. The commands run in a checkout of the commit; DATABASE_URL, UPGRADEPATH_ENVIRONMENT,
# UPGRADEPATH_COMMIT and UPGRADEPATH_RUN are in their environment.
#   activate  brings the commit up without a failed request, is safe to repeat, prints address=http://…
#   observe   prints the commit that is live, or nothing
#   health    exits with 0 when all is well
#   destroy   takes everything away
#   logs      prints the recent log
[environments.production]
branch = "{branch}"
database = "secret:{project}-production-database"
{_commands()}

[environments.staging]
database = "secret:{project}-staging-database"
{_commands()}

# Staging's rows: production's, masked by the `/// @mask` rules of the schema; or a seed file of yours.
[staging]
data = "masked-copy"

# What proves an upgrade. Put your own tests here: kind = "command", "http", "sql", "log" or "sign-off".
[checks.validate.looks-right]
kind = "sign-off"
question = "Does staging look right?"

[checks.check-workflows.agreed-workflows]
kind = "sign-off"
question = "Do the workflows still do what was agreed?"
"""


def unmade_commands(definition: ProjectDefinition, files: Mapping[str, object]) -> list[str]:
    """The files that the environments' commands name and the repository lacks."""
    environments = (definition.environments.production, definition.environments.staging)
    named = [word for one in environments for command in _COMMANDS for word in getattr(one, command)]
    paths = [word.removeprefix("./") for word in named if "/" in word and not word.startswith(("/", "-"))]
    return [path for path in dict.fromkeys(paths) if "://" not in path and path not in files]


def _prisma(paths: PrismaPaths) -> str:
    if paths == PrismaPaths():
        return ""
    return f"""
# Where Prisma's files are. Each System's part of the schema is a file of its own in that folder.
[prisma]
schemas = "{paths.schemas}"
migrations = "{paths.migrations}"
"""


def _commands() -> str:
    return "\n".join(f'{command} = ["hosting/{command}"]' for command in _COMMANDS)
