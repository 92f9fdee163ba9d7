"""`upgradepath release sign` and `release verify`: both work offline, with files alone."""

import hashlib
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli.client import Server
from cli.durations import moment
from cli.exporting import OutFolder, keep
from cli.output import line, note, say, show_json, text, when
from cli.packages import PackageArgument, open_package
from cli.world import announced_world
from shared.clock import utc_now
from shared.errors import invalid
from shared.identity.keys import PublicKeys, SigningKey, UnusableKey
from shared.packages.package import Package
from shared.signing.envelope import SMALL_BYTES_MAX, Unproven
from shared.signing.library_keys import LibraryKeys
from shared.signing.releases import Named, sign_release, verify_receipt, verify_release
from shared.signing.statements import package_name
from shared.signing.trust import registry_keys

T = TypeVar("T")

KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", metavar="FILE", help="The Library's private key; twice for two, as while one is replaced."
    ),
]
BuilderOption = Annotated[
    str | None,
    typer.Option("--builder", help="Who made the package of its sources; else this machine's name."),
]
KeysOption = Annotated[
    Path,
    typer.Option("--keys", metavar="FILE", exists=True, help="The Library's public keys: `release trust`."),
]
ServiceKeysOption = Annotated[
    Path | None,
    typer.Option(
        "--service-keys", metavar="FILE", exists=True, help="The services' public keys: services.json."
    ),
]


def sign(
    package: PackageArgument,
    keys: KeyOption = None,
    builder: BuilderOption = None,
    out: OutFolder = Path(),
) -> None:
    """Sign a package: writes <name>-<version>.tar.gz.dsse.json, and the .tar.gz of a folder.

    The signature is of these very bytes: publish the .tar.gz, as another machine may pack otherwise.
    """
    if not keys:
        raise typer.BadParameter("give the Library's private key: --key FILE")
    data, read = open_package(package)
    name = package_name(read.manifest.name, read.manifest.version)
    if package.is_dir():
        keep(out, name, data)
    keep(out, f"{name}.dsse.json", _signature(data, read, keys, builder))


def verify(
    package: PackageArgument,
    keys: KeysOption,
    signature: Annotated[
        Path | None, typer.Option("--signature", metavar="FILE", help="Else TAR.dsse.json beside it.")
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option("--receipt", metavar="FILE", help="The registry's word when it saw the signature."),
    ] = None,
    service_keys: ServiceKeysOption = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            parser=moment,
            metavar="TIME",
            help="As of when a key must be good, in UTC; else the receipt's time, or now.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say whether the Library signed exactly this package; asks nobody. Ends with 1 if it did not."""
    if (receipt is None) != (service_keys is None):
        raise typer.BadParameter("--receipt and --service-keys belong together")
    data, read = open_package(package)
    named = _named(data, read)
    # Read once: what the receipt is of is what is verified.
    envelope = cache((signature or package.with_name(f"{package.name}.dsse.json")).read_bytes)
    trusted = library_keys(keys)
    seen_at, whose = (at, "as you say") if at else (utc_now(), "now")
    if receipt is not None and service_keys is not None:
        registry = registry_keys(service_public_keys(service_keys))
        seen = proven(lambda: verify_receipt(receipt.read_bytes(), envelope(), named, registry, trusted))
        seen_at, whose = (seen_at, whose) if at else (seen, "by the registry's receipt")
    found = proven(lambda: verify_release(envelope(), named, trusted, seen_at))
    if as_json:
        facts = {"system": named.system, "version": named.version, "package": named.package}
        signed = {"kid": found.kid, "builder": found.builder, "signed_at": found.signed_at.isoformat()}
        show_json({**facts, **signed, "good_as_of": seen_at.isoformat(), "signed": True})
        return
    say(
        line(text("good: ", "bold green"), f"{named.system} {named.version} is signed by {found.kid}"),
        f"  package  {named.package}",
        f"  builder  {found.builder}, {when(found.signed_at)} by its own clock",
        f"  the key counts as of {when(seen_at)}, {whose}",
    )


def signature_for(
    server: Server,
    data: bytes,
    package: Package,
    signature: Path | None,
    keys: Sequence[Path],
    builder: str | None,
) -> bytes | None:
    """The envelope to publish a package with: a file's, a new one, or by the local world's key; or none."""
    if signature is not None and keys:
        raise typer.BadParameter("give --signature or --key, not both")
    if signature is not None:
        return _read(signature)
    if keys:
        return _signature(data, package, keys, builder)
    world = announced_world() if server.place.of_world else None
    if world is not None and world.library_key is not None:
        return _signature(data, package, [Path(world.library_key)], builder or "the local world")
    note("the package is not signed: give --key FILE, or --signature FILE of `release sign`")
    return None


def beside(package: Path, signature: Path | None) -> bytes | None:
    """The envelope to check a package with: a file's, the one beside a .tar.gz, or none."""
    found = package.with_name(f"{package.name}.dsse.json")
    if signature is None and (package.is_dir() or not found.is_file()):
        return None
    data = _read(signature or found)
    if len(data) > SMALL_BYTES_MAX // 4:
        raise invalid("it is too large for a signature", field="--signature", cure="name the .dsse.json file")
    return data


def library_keys(path: Path) -> LibraryKeys:
    """The Library's public keys of a file. Raises `Reject`."""
    try:
        return LibraryKeys.load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, UnusableKey) as error:
        raise invalid(
            f"{path}: {error}", field="--keys", cure="make the file with `upgradepath release trust add`"
        ) from error


def service_public_keys(path: Path) -> PublicKeys:
    """The services' public keys of a file. Raises `Reject`."""
    try:
        return PublicKeys.load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, UnusableKey) as error:
        raise invalid(
            f"{path}: {error}", field="--service-keys", cure="it is what UPGRADES_SERVICE_PUBLIC_KEYS names"
        ) from error


def proven(ask: Callable[[], T]) -> T:
    """What `ask` finds proven. Raises `Reject` when it is not."""
    try:
        return ask()
    except Unproven as error:
        raise invalid(
            f"not proven: {error}", field="signature", cure="use nothing of it before you know why"
        ) from error
    except OSError as error:
        raise _unreadable(error) from error


def _signature(data: bytes, package: Package, keys: Sequence[Path], builder: str | None) -> bytes:
    named = _named(data, package)
    by = builder or socket.gethostname()
    return sign_release(named, builder=by, at=utc_now(), keys=[private_key_at(key) for key in keys])


def _named(data: bytes, package: Package) -> Named:
    return Named(package.manifest.name, package.manifest.version, hashlib.sha256(data).hexdigest())


def private_key_at(path: Path) -> SigningKey:
    """The key under the id that its public half has in the JWK Set beside it, if there is one.

    Raises `Reject`.
    """
    try:
        key = SigningKey.load(path.read_text("utf-8"))
        beside = path.with_suffix(".jwks.json")
        if beside.is_file():
            public = PublicKeys.load(beside.read_text("utf-8")).by_kid
            kids = [kid for kid, half in public.items() if half == key.private.public_key()]
            return SigningKey(kids[0], key.private) if kids else key
    except (OSError, UnicodeDecodeError, UnusableKey) as error:
        raise invalid(
            f"{path}: {error}", field="--key", cure="make a key with `upgradepath key new`"
        ) from error
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> Exception:
    return invalid(f"{error.filename}: {error.strerror}", field="signature", cure="name a file that is there")
