"""`upgradepath token list|revoke`: what was issued, and what is called back."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cli.output import note, say, show_json, table, text, when
from cli.token_register import IssuedToken, TokenRegister, append_line, leave_out
from cli.world import world_folder
from shared.clock import utc_now
from shared.errors import Reject, invalid
from shared.identity.claims import InvalidToken, require_token_id
from shared.identity.revoked import BYTES_MAX, Revocations, before_line

KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The private key beside which the register lies."),
]
RevokedOption = Annotated[
    Path | None,
    typer.Option("--revoked", metavar="FILE", envvar="UPGRADES_TOKEN_REVOKED", help="The services' list."),
]
KEPT_AFTER_END = timedelta(days=62)
"""A command may lie on its topic for a month, and is proven by the token with which it was sent."""


def register_beside(key: Path | None) -> TokenRegister:
    """The register of this key, else that of the local world."""
    if key is not None:
        return TokenRegister(key.absolute().parent)
    folder = world_folder()
    if folder is None:
        raise typer.BadParameter("name a private key, or start the local world", param_hint="--key")
    return TokenRegister(folder)


def list_tokens(
    key: KeyOption = None,
    revoked: RevokedOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """The tokens that `token issue` has made with the keys of this folder, and which of them count."""
    now, register = utc_now(), register_beside(key)
    listed = Revocations() if revoked is None or not revoked.exists() else _read(revoked)
    rows = [(each, each.state(listed, now)) for each in register.tokens()]
    shown = [(each, state) for each, state in rows if everything or each.expires > now]
    if as_json:
        show_json([{**each.model_dump(mode="json"), "state": state} for each, state in shown])
        return
    ended = "" if everything else " counts; --all shows those that ended"
    table(
        ("who", "role", "Projects", "jti", "issued", "expires", "state"),
        [
            (
                each.subject,
                each.role,
                ", ".join(each.projects),
                each.jti,
                when(each.issued),
                when(each.expires),
                text(state, "red" if state == "revoked" else ""),
            )
            for each, state in shown
        ],
        empty=f"no token in {register.path}{ended}",
    )
    if revoked is None:
        note("which are revoked is not known: set UPGRADES_TOKEN_REVOKED, or name the list by --revoked")


def revoke(
    token_ids: Annotated[
        list[str] | None, typer.Argument(metavar="JTI…", help="Tokens, by the id that `token list` shows.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="ID", help="Everything issued to this person until now."),
    ] = None,
    revoked: RevokedOption = None,
    key: KeyOption = None,
    tidy: Annotated[
        bool, typer.Option("--tidy", help="Leave out registered tokens that ended two months ago.")
    ] = False,
) -> None:
    """Call tokens back: add them to the list that the services read whenever it changes.

    The list is one file. Bring it to every machine on which services run.
    """
    if revoked is None:
        raise typer.BadParameter("name the list of the services", param_hint="--revoked")
    if not token_ids and subject is None and not tidy:
        raise typer.BadParameter("say which: a JTI, or --subject ID", param_hint="JTI")
    now = utc_now()
    lines = [_line_of(token_id) for token_id in token_ids or ()]
    if subject is not None:
        lines.append(_line_of_subject(subject, now))
    known = register_beside(key).tokens() if key is not None or world_folder() is not None else ()
    if tidy:
        _tidy(revoked, known, now)
    _append(revoked, lines)
    for token_id in token_ids or ():
        owner = next((f", of {each.subject}" for each in known if each.jti == token_id), "")
        say(f"revoked: {token_id}{owner}")
        if known and not owner:
            note(f"{token_id} is not in the register: is it another issuer's?")
    if subject is not None:
        say(f"revoked: everything that was issued to {subject} before {when(now)} UTC")
        note("what is issued to them in the next 30 s is refused too, as clocks differ")


def _line_of(token_id: str) -> str:
    try:
        return require_token_id(token_id)
    except InvalidToken as error:
        raise invalid(str(error), field="JTI", value=token_id, cure="see: upgradepath token list") from error


def _line_of_subject(subject: str, now: datetime) -> str:
    line = before_line(subject, now)
    if [*Revocations.read(line).before_s] != [subject]:
        raise invalid(
            f"{subject!r} is not an id of somebody",
            field="--subject",
            value=subject,
            cure="name it exactly as in `sub`, or as the services show it: acme:mira",
        )
    return line


def _read(path: Path) -> Revocations:
    try:
        return Revocations.read(path.read_text("utf-8-sig", errors="replace"))
    except OSError as error:
        raise _unusable(path, error.strerror or "") from error


def _append(path: Path, lines: list[str]) -> None:
    try:
        size = path.stat().st_size if path.exists() else 0
        if lines and size + sum(len(line.encode()) + 2 for line in lines) > BYTES_MAX:
            raise _unusable(path, f"services read at most {BYTES_MAX} bytes of it")
        if lines:
            append_line(path, "\n".join(lines), 0o644)
    except OSError as error:
        raise _unusable(path, error.strerror or "") from error


def _tidy(path: Path, known: tuple[IssuedToken, ...], now: datetime) -> None:
    """Leave out what the register knows to have ended long ago; other lines may be anybody's."""
    over = {each.jti for each in known if each.expires + KEPT_AFTER_END < now}
    try:
        left_out, lines = leave_out(path, over)
    except OSError as error:
        raise _unusable(path, error.strerror or "") from error
    if not left_out:
        note(f"nothing in {path} is known to have ended more than {KEPT_AFTER_END.days} days ago")
        return
    say(f"left out: {left_out} of {lines} lines")
    note("where the file itself is mounted, and not its folder, services keep the old one")


def _unusable(path: Path, why: str) -> Reject:
    return invalid(
        f"{path} cannot be used: {why}; nothing was added to it",
        field="--revoked",
        cure="make it a file that you may write; if it is too large: upgradepath token revoke --tidy",
    )
