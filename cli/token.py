"""`upgradepath token …`: bearer tokens, where no identity provider issues them."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError

from cli.durations import duration
from cli.output import note, raw, when
from cli.signing import private_key_at
from cli.token_register import IssuedToken
from cli.token_revoking import list_tokens, register_beside, revoke
from cli.world import Person, Role, world_folder
from shared.contracts.envelope import explain
from shared.contracts.topics import SERVICES
from shared.contracts.values import Actor
from shared.identity.keys import SigningKey

app = typer.Typer(help="Bearer tokens, for servers without an identity provider.")
app.command("list")(list_tokens)
app.command("revoke")(revoke)

VALID_FOR_AT_MOST = timedelta(days=7)
"""A person who needs more than a week gets a new one."""


@app.command("issue")
def issue(
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="ID", help="Whom it names: mira@acme.example.")
    ] = None,
    role: Annotated[Role | None, typer.Option("--role", help="What they may do.")] = None,
    project: Annotated[
        list[str] | None,
        typer.Option("--project", metavar="PROJECT", help="For a maintainer, each of theirs."),
    ] = None,
    valid_for: Annotated[
        str, typer.Option("--valid-for", metavar="DURATION", help="30m, 8h, 2d: at most 7d.")
    ] = "8h",
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="A private key of `key new`; else the local world's."),
    ] = None,
    kid: Annotated[
        str | None, typer.Option("--kid", help="The key's id, where `key new` was given one.")
    ] = None,
    service: Annotated[
        str | None, typer.Option("--service", help="For this one service: no other takes the token.")
    ] = None,
    as_role: Annotated[
        Person | None, typer.Option("--as", help="In a local world: for this one of its people.")
    ] = None,
) -> None:
    """Print a token for somebody, signed with a private key.

    Anybody who has it is taken for that person until it ends or is called back: `token revoke`. A register
    beside the key keeps who got which token: `token list`.
    """
    from shared.identity.tokens import issue_token

    lasting = duration(valid_for)
    if lasting is None or not timedelta() < lasting <= VALID_FOR_AT_MOST:
        raise typer.BadParameter(
            f"{valid_for!r} is not a duration like 30m, 8h or 2d, up to 7d", param_hint="--valid-for"
        )
    if service is not None and service not in SERVICES:
        raise typer.BadParameter(f"there is {', '.join(SERVICES)}", param_hint="--service")
    actor = _known(as_role) if as_role is not None else _actor(subject, role, project or [])
    signing = _private_key(key)
    token = issue_token(
        actor, SecretStr(signing.pem()), valid_for=lasting, kid=kid or signing.kid, service=service
    )
    issued = IssuedToken.of(token)
    register_beside(key).add(issued)
    raw(token + "\n")
    note(f"{actor.id}, {actor.role}, until {when(issued.expires)} UTC; its id is {issued.jti}")


def _known(role: Person) -> Actor:
    from local.world import ACTORS, World

    folder = world_folder()
    return ACTORS[role] if folder is None else World.open(folder).actors[role]


def _actor(subject: str | None, role: Role | None, projects: list[str]) -> Actor:
    if subject is None or role is None:
        raise typer.BadParameter("say for whom: --subject and --role, or --as in a local world")
    if role == "maintainer" and not projects:
        raise typer.BadParameter("a maintainer needs at least one Project", param_hint="--project")
    try:
        return Actor(id=subject, role=role, projects=tuple(projects))
    except ValidationError as error:
        raise typer.BadParameter(explain(error)) from error


def _private_key(path: Path | None) -> SigningKey:
    if path is None:
        folder = world_folder()
        if folder is None:
            raise typer.BadParameter("name a private key, or start the local world", param_hint="--key")
        from local.world import World

        return SigningKey.load(World.open(folder).token_key)
    return private_key_at(path)
