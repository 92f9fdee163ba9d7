"""`upgradepath project policy|confirm`: who may decide for a Project, changed by its approvers alone."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError

from cli.answers import ProjectAnswer
from cli.asking import AsJson, ProjectArgument, asks
from cli.client import Server
from cli.decisions import ask
from cli.output import note, say, show_json, text
from cli.policy_page import print_policy, print_proposal, print_proposed, spoken
from shared.contracts.envelope import explain
from shared.contracts.policies import Act, Policy
from shared.contracts.projects import Project, ProjectRegistered
from shared.contracts.registrations import Proposal
from shared.deciding import described, rules_of
from shared.errors import conflict, invalid

_LISTS = frozenset(get_args(Act))
Approver = Annotated[
    list[str] | None,
    typer.Option("--approver", help="The approvers from now on; repeatable."),
]
Propose = Annotated[
    bool, typer.Option("--propose", help="You may not make the change: keep it for approvers to confirm.")
]


@asks()
def policy(
    server: Server,
    project: ProjectArgument,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="approvals=2, single-person=true, start=a@x,b@x; an empty list is the default.",
        ),
    ] = None,
    approver: Approver = None,
    propose: Propose = False,
    as_json: AsJson = False,
) -> None:
    """Show who may decide for a Project, or change it: that needs as many approvers as its policy says."""
    found = ProjectAnswer.model_validate(server.read("registry", "projects", project))
    if settings or approver:
        changed = found.project.model_copy(
            update={
                "approvers": tuple(approver or found.project.approvers),
                "policy": changed_policy(found.project.policy, settings or ()),
            }
        )
        _show(_register(server, found, changed, propose=propose), as_json)
        return
    if as_json:
        show_json({"policy": found.project.policy.model_dump(mode="json"), "digest": found.policy_digest})
        return
    say(text(found.project.id, "bold"), f"  approvers   {', '.join(found.project.approvers)}")
    print_policy(rules_of(found.project))
    if found.policy_digest:
        say(f"  digest      {found.policy_digest}")
    say(*(f"  changed by  {spoken(word)}" for word in found.changed_by))
    if found.proposal is not None:
        print_proposal(found.proposal)


@asks()
def confirm(
    server: Server,
    project: ProjectArgument,
    change: Annotated[
        str | None,
        typer.Option("--change", metavar="DIGEST", help="Exactly this one; nothing is asked then."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Agree to a proposed change of the registration, as one of its present approvers."""
    found = ProjectAnswer.model_validate(server.read("registry", "projects", project))
    if found.proposal is None:
        raise conflict(
            f"no change of {project} waits to be confirmed",
            field="project",
            value=project,
            cure=f"propose one: upgradepath project policy {project} --set … --propose",
        )
    if not as_json:
        print_proposal(found.proposal)
        _print_difference(found.project, found.proposal)
    if change is None and not yes:
        ask("Change the registration exactly like this?")
    body = {"change": change or found.proposal.digest}
    _show(server.command("registry", "projects", project, "confirm", body=body), as_json)


def changed_policy(policy: Policy, settings: Sequence[str]) -> Policy:
    """The policy with `NAME=VALUE` settings made. Raises `Reject` for a wrong one."""
    document = policy.model_dump(mode="json")
    for setting in settings:
        name, equals, value = setting.partition("=")
        field = name.strip().replace("-", "_")
        if not equals or field not in Policy.model_fields:
            names = ", ".join(known.replace("_", "-") for known in Policy.model_fields)
            raise invalid(
                "this is no setting of a policy", field="--set", value=setting, cure=f"there are: {names}"
            )
        document[field] = (
            [person.strip() for person in value.split(",") if person.strip()]
            if field in _LISTS
            else value.strip()
        )
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise invalid(
            f"the policy cannot be like that: {explain(error)}",
            field="--set",
            value=", ".join(settings),
            cure="approvals is a number from 1 to 20; what is no list is true or false",
        ) from error


def _register(server: Server, found: ProjectAnswer, changed: Project, *, propose: bool) -> Any:
    pins = found.version_map.pins if found.version_map else {}
    body: dict[str, object] = {"project": changed.model_dump(mode="json", by_alias=True), "pins": dict(pins)}
    return server.command("registry", "projects", body=body | ({"propose": True} if propose else {}))


def _show(document: Any, as_json: bool) -> None:
    if as_json:
        show_json(document)
        return
    if print_proposed(document):
        note("it takes effect once enough of the present approvers have confirmed it")
        return
    registered = ProjectRegistered.model_validate(document)
    say(f"changed: {registered.project.id} (revision {registered.revision})")
    print_policy(rules_of(registered.project))


def _print_difference(present: Project, proposal: Proposal) -> None:
    before: Any = present.model_dump(mode="json", by_alias=True)
    after: Any = proposal.project.model_dump(mode="json", by_alias=True)
    for path in proposal.changes:
        say(f"  {path}: {_at(before, path)} → {_at(after, path)}")
    say(f"  policy then: {described(rules_of(proposal.project))}")


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return "(none)" if document is None else document
