"""`upgradepath key rotate|retire`: the next key beside the present one, and the old one taken out in time."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.key_files import replace_file, require_absent, write_new
from cli.output import note, say, when
from cli.signing import private_key_at, service_public_keys
from cli.token_register import TokenRegister
from shared.clock import utc_now
from shared.errors import conflict, invalid, not_found
from shared.identity.keys import PublicKeys, SigningKey

PublicOption = Annotated[
    Path | None,
    typer.Option("--public", metavar="JWKS", help="What the services read; else the file beside the key."),
]


def rotate(
    key: Annotated[Path, typer.Argument(metavar="FILE", help="The private key that issues tokens now.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Gets the next key; else FILE-2, FILE-3, …")
    ] = None,
    kid: Annotated[str | None, typer.Option("--kid", help="The next key's id; else its thumbprint.")] = None,
    public: PublicOption = None,
) -> None:
    """Make the next key. Services then take tokens by both, so no valid token is ever refused.

    Nothing is taken away: tokens by the old key count until they end. Bring the JWK Set to every service,
    issue with the next key from then on, and take the old one out by `key retire`.
    """
    present = private_key_at(key)
    trusted_file = public or key.with_suffix(".jwks.json")
    trusted = service_public_keys(trusted_file)
    olds = [name for name, half in trusted.by_kid.items() if half == present.private.public_key()]
    if not olds:
        raise invalid(
            f"{trusted_file} does not hold the public half of {key}",
            field="--public",
            cure="name the JWK Set that the services read: both keys must count while one replaces the other",
        )
    following = out or _next_name(key)
    beside = following.with_suffix(".jwks.json")
    require_absent(following, beside)
    made = SigningKey.new(kid)
    if made.kid in trusted.by_kid:
        raise conflict(
            f"{trusted_file} has a key {made.kid!r} already", field="--kid", cure="name another id"
        )
    # The private key first: a public half alone would be a key that nobody has.
    write_new(following, made.pem(), 0o600)
    write_new(beside, made.public().jwks() + "\n", 0o644)
    _replace(trusted_file, trusted | made.public())
    ends = TokenRegister(key.absolute().parent).ends_last(olds, utc_now())
    say(
        f"next key: {following} ({made.kid}); {trusted_file} holds both",
        f"1. bring {trusted_file} to every service: it is read again by itself",
        f"2. from then on: upgradepath token issue --key {following} …",
        # A thumbprint may begin with a hyphen.
        f"3. {_after(ends)}: upgradepath key retire --key {key} -- {trusted_file} {olds[0]}",
    )


def retire(
    public: Annotated[Path, typer.Argument(metavar="JWKS", help="What the services read.")],
    kid: Annotated[str, typer.Argument(metavar="KID", help="The id of the key that is taken out.")],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="The private key beside which the register lies; else JWKS."
        ),
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="It was lost: refuse its tokens from now on, also good ones.")
    ] = False,
) -> None:
    """Take a public key out of the services' file, once the last registered token by it has ended."""
    trusted = service_public_keys(public)
    if kid not in trusted.by_kid:
        raise not_found(
            f"{public} has no key {kid!r}", field="KID", value=kid, cure=f"it has {', '.join(trusted)}"
        )
    if len(trusted.by_kid) == 1:
        raise conflict(
            f"{kid!r} is the only key in {public}, and nobody could be proven any more",
            field="KID",
            cure="make the next one first: upgradepath key rotate",
        )
    if not at_once:
        _require_ended(kid, TokenRegister((key or public).absolute().parent))
    left = PublicKeys({name: half for name, half in trusted.by_kid.items() if name != kid})
    _replace(public, left)
    say(f"retired: {kid}; {public} holds {', '.join(left)}")
    note("bring the file to every service")


def _require_ended(kid: str, register: TokenRegister) -> None:
    """Raises `Reject` while a registered token by the key is good, and when nobody can tell."""
    ends = register.ends_last([kid], utc_now())
    if ends is not None:
        raise conflict(
            f"tokens by {kid!r} are good until {when(ends)} UTC",
            field="KID",
            value=kid,
            cure="wait for that; or say --at-once if the key was lost",
        )
    if not register.path.exists():
        raise conflict(
            f"{register.path} is not there, so nobody can tell whether tokens by {kid!r} are good",
            field="--key",
            cure="name the private key that issued them by --key; or say --at-once if none was issued",
        )


def _after(ends: datetime | None) -> str:
    if ends is None:
        return "no registered token by the old key is good; when none that others issued is either"
    return f"after {when(ends)} UTC, when the last registered token by the old key has ended"


def _next_name(key: Path) -> Path:
    base, _, number = key.stem.rpartition("-")
    if not base or not number.isascii() or not number.isdigit():
        base, number = key.stem, "1"
    return key.with_name(f"{base}-{int(number) + 1}{key.suffix}")


def _replace(path: Path, keys: PublicKeys) -> None:
    try:
        replace_file(path, keys.jwks() + "\n")
    except OSError as error:
        raise invalid(
            f"{path} cannot be written: {error.strerror}; nothing else is changed",
            field="--public",
            cure="make it writable for you",
        ) from error
