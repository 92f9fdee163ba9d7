"""`upgradepath backup …`: keys of backups, and a sealed backup opened by hand."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.output import note, raw
from shared.errors import conflict, invalid
from shared.private_files import FILE_MODE

app = typer.Typer(help="Backups of production: their keys, and opening one by hand.")


@app.command("key")
def key(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Gets the private key.")] = Path(
        "upgradepath-backup-key.txt"
    ),
) -> None:
    """Make a key pair of age: the private key into FILE, for its owner alone; the public one is printed.

    The executor takes FILE as UPGRADES_BACKUP_KEY. To change the key, put the new one's line before the old
    one's in the same file: new backups are sealed for the first, and each of them opens old ones. Keep a copy
    where the executor's machine cannot take it along.
    """
    from services.executor.clients.backup_keys import new_key

    private, public = new_key()
    _write_new(out, f"# public key: {public}\n{private}\n")
    raw(f"{public}\n")
    note(f"private key: {out} (UPGRADES_BACKUP_KEY of the executor); whoever has it can read every backup")


@app.command("open")
def open_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As it lies in the backup store.")],
    private: Annotated[Path, typer.Option("--key", metavar="FILE", help="Has private keys of age.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Gets the dump, for `pg_restore`.")],
) -> None:
    """Open a sealed backup without any service. Nothing appears in --out before all of FILE is proven."""
    from services.executor.clients.backup_keys import BackupKeys, UnusableBackupKey
    from services.executor.clients.sealed_file import Damaged, NotOpened, unseal

    if out.exists() or out.is_symlink():
        raise _is_there(out)
    try:
        digest = unseal(file, out, BackupKeys.read("", str(private), where=str(private)))
    except UnusableBackupKey as error:
        raise invalid(
            str(error), field="--key", value=str(private), cure="name a file of age-keygen"
        ) from None
    except NotOpened as error:
        cure = "name a file with the private key of one of these"
        raise invalid(f"{file} does not open: {error}", field="--key", cure=cure) from None
    except Damaged as error:
        cure = "fetch it again; its name in the store is its sha256"
        raise invalid(f"{file} is damaged: {error}", field="FILE", cure=cure) from None
    except OSError as error:
        where = error.filename or out
        raise invalid(f"{where}: {error.strerror}", field="FILE", cure="name files that are usable") from None
    note(f"{out}: a dump of sha256 {digest}, readable by you alone; delete it when it is restored")


def _write_new(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    except FileExistsError:
        raise _is_there(path) from None
    except OSError as error:
        cure = "name a file in a folder that is there and that you may write to"
        raise invalid(f"{path} cannot be made: {error.strerror}", field="--out", cure=cure) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _is_there(path: Path) -> Exception:
    return conflict(
        f"{path} is there already, and is not overwritten", field="--out", cure="name another file"
    )
