"""`upgradepath key …`: key pairs. The private half stays with whoever issues tokens or signs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.output import note, raw
from shared.errors import conflict, invalid

app = typer.Typer(help="Key pairs: the private half signs, the public half is what services hold.")

DEFAULT = Path("upgradepath-key.pem")


@app.command("new")
def new(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Gets the private key; or a folder for both files.")
    ] = DEFAULT,
    kid: Annotated[
        str | None,
        typer.Option("--kid", help="The key's id, for instance a service's name; else its thumbprint."),
    ] = None,
) -> None:
    """Make an Ed25519 key pair: the private key into FILE, the public one as a JWK Set beside it.

    The private key is readable by its owner alone. Nothing that is there already is overwritten. The JWK Set,
    which is printed too, is what the services take as UPGRADES_TOKEN_PUBLIC_KEYS.
    """
    from shared.identity.keys import SigningKey

    private = out / DEFAULT.name if out.is_dir() else out
    public = private.with_suffix(".jwks.json")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise conflict(
                f"{path} is there already, and a key is never overwritten",
                field="--out",
                cure="name another file, or move this one away once nobody needs it",
            )
    key = SigningKey.new(kid)
    document = key.public().jwks() + "\n"
    _write_new(private, key.pem(), 0o600)
    _write_new(public, document, 0o644)
    raw(document)
    note(f"private key: {private} (keep it to yourself); public keys: {public}")


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise invalid(
            f"{path} cannot be made: {error.strerror}",
            field="--out",
            cure="name a file in a folder that is there and that you may write to",
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
