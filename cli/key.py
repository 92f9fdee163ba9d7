"""`upgradepath key …`: key pairs. The private half stays with whoever issues tokens or signs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.key_files import replace_file, require_absent, write_new
from cli.key_rotation import retire, rotate
from cli.output import note, raw
from shared.errors import conflict, invalid

app = typer.Typer(help="Key pairs: the private half signs, the public half is what services hold.")

app.command("rotate")(rotate)
app.command("retire")(retire)

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
    service: Annotated[
        str | None,
        typer.Option(
            "--service",
            metavar="NAME",
            help="For a service: planner, or executor.POOL. FILE is the folder of the services' keys.",
        ),
    ] = None,
) -> None:
    """Make an Ed25519 key pair: the private key into FILE, the public one as a JWK Set beside it.

    The private key is readable by its owner alone. Nothing that is there already is overwritten. The JWK Set,
    which is printed too, is what the services take as UPGRADES_TOKEN_PUBLIC_KEYS.
    """
    from shared.identity.keys import SigningKey

    if service is not None:
        _for_service(service, Path() if out == DEFAULT else out)
        return
    private = out / DEFAULT.name if out.is_dir() else out
    public = private.with_suffix(".jwks.json")
    require_absent(private, public)
    key = SigningKey.new(kid)
    document = key.public().jwks() + "\n"
    write_new(private, key.pem(), 0o600)
    write_new(public, document, 0o644)
    raw(document)
    note(f"private key: {private} (keep it to yourself); public keys: {public}")


def _for_service(principal: str, folder: Path) -> None:
    """The service's key into a file of its name; its public half to those of the others, in services.json."""
    from shared.identity.keys import PublicKeys, SigningKey, UnusableKey
    from shared.identity.proofs import Verifier

    key = SigningKey.new(principal)
    shared_keys = folder / "services.json"
    try:
        known = PublicKeys.load(shared_keys.read_text()) if shared_keys.exists() else PublicKeys({})
        Verifier(known | key.public())
    except (OSError, UnusableKey) as error:
        raise invalid(str(error), field="--service", value=principal, cure="see its --help") from error
    private = folder / f"{principal}.pem"
    if principal in known.by_kid or private.exists() or private.is_symlink():
        raise conflict(
            f"{folder} has a key of {principal} already, and a key is never overwritten",
            field="--service",
            cure=f"to change it, make {principal}#2 beside it, give the service that key, and take the old"
            " public key away once every service has read the new one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_new(private, key.pem(), 0o600)
    document = (known | key.public()).jwks() + "\n"
    replace_file(shared_keys, document)
    raw(document)
    note(
        f"private key: {private} (UPGRADES_SERVICE_KEY); public keys: {shared_keys}"
        " (UPGRADES_SERVICE_PUBLIC_KEYS of every service)"
    )
