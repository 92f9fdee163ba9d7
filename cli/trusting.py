"""`upgradepath release trust …`: the file with the Library's public keys, by which packages are verified."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cli.durations import moment
from cli.key_files import replace_file
from cli.output import say, table, text, when
from cli.signing import library_keys, service_public_keys
from shared.clock import utc_now
from shared.errors import conflict, invalid, not_found
from shared.signing.library_keys import LibraryKeys, TrustedKey, Validity

app = typer.Typer(help="The Library's public keys: add one, revoke one, see from when to when each is good.")

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The keys, as UPGRADES_LIBRARY_KEYS names them.")
]
Moment = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="In UTC, if it has no zone.")
]


@app.command("add")
def add(
    file: FileArgument,
    public: Annotated[
        Path, typer.Argument(metavar="JWKS", exists=True, help="The public half, as `key new` wrote it.")
    ],
    purpose: Annotated[
        Literal["library", "receipt"],
        typer.Option("--for", help="receipt: a registry's key of before, for the receipts that it gave."),
    ] = "library",
    not_before: Moment = None,
    not_after: Moment = None,
) -> None:
    """Trust a key too. Two at once are good while one replaces the other."""
    keys = library_keys(file) if file.exists() else LibraryKeys()
    validity = Validity(purpose=purpose, not_before=not_before, not_after=not_after)
    added = {}
    for kid, key in service_public_keys(public).by_kid.items():
        if kid in keys.by_kid:
            raise conflict(
                f"{file} has a key {kid!r} already", field="JWKS", cure="make the new one with another --kid"
            )
        if not isinstance(key, Ed25519PublicKey):
            raise invalid(f"the key {kid!r} is not Ed25519", field="JWKS", cure="use `upgradepath key new`")
        added[kid] = TrustedKey(key, validity)
    replace_file(file, LibraryKeys({**keys.by_kid, **added}).text())
    say(f"trusted: {', '.join(added)}, for {purpose}")


@app.command("revoke")
def revoke(
    file: FileArgument,
    kid: Annotated[str, typer.Argument(metavar="KID", help="The key's id.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; every refusal says it.")],
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            parser=moment,
            metavar="TIME",
            help="From when on nothing that it signed counts, in UTC; else from now on.",
        ),
    ] = None,
) -> None:
    """Take a key out from a moment on. Packages that the registry saw before it stay good."""
    keys = library_keys(file)
    if kid not in keys.by_kid:
        raise not_found(f"{file} has no key {kid!r}", field="KID", value=kid, cure="see: release trust list")
    known = keys.by_kid[kid]
    since = at or utc_now()
    before = known.validity.revoked_at
    if before is not None and before < since:
        raise conflict(
            f"{kid!r} is revoked from {when(before)} on, which is earlier",
            field="--at",
            cure="name an earlier since, or leave it as it is",
        )
    validity = known.validity.model_copy(update={"revoked_at": since, "reason": reason})
    replace_file(file, LibraryKeys({**keys.by_kid, kid: replace(known, validity=validity)}).text())
    say(f"revoked: {kid}, from {when(since)} on")


@app.command("list")
def list_keys(
    file: FileArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """The keys of the file, and when each is good."""
    keys = library_keys(file)
    if as_json:
        say(json.dumps(json.loads(keys.text())))
        return
    now = utc_now()
    table(
        ("key", "for", "from", "until", "now"),
        [
            (
                text(kid, "bold"),
                key.validity.purpose,
                when(key.validity.not_before),
                when(key.validity.revoked_at or key.validity.not_after),
                text(key.validity.fault(now) or "good", "red" if key.validity.fault(now) else "green"),
            )
            for kid, key in keys.by_kid.items()
        ],
        empty="no keys",
    )
