"""`upgradepath release …`: check a package, publish it, withdraw it, read what is published."""

import time
import uuid
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cli import trusting
from cli.answers import GateAnswer, PublishAnswer, ReleaseAnswer, StoredContent
from cli.asking import AsJson, asks
from cli.client import Server
from cli.exporting import OutFolder, keep
from cli.output import advise, line, note, refuse, say, show_json, table, text, when
from cli.packages import PackageArgument, open_package
from cli.signing import BuilderOption, KeyOption, beside, sign, signature_for, verify
from cli.world import NoAnswer
from shared.contracts.releases import Release, ReleaseWithdrawn
from shared.signing.statements import package_name

app = typer.Typer(help="Publish versions of Business Systems, and read what is published.")

app.command("sign")(sign)
app.command("verify")(verify)
app.add_typer(trusting.app, name="trust", no_args_is_help=True)

SystemArgument = Annotated[str, typer.Argument(metavar="SYSTEM", help="For instance auth-system.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="For instance 1.3.0.")]

_VERDICT_DEADLINE_S = 300.0


@app.command("check")
@asks("library")
def check(
    server: Server,
    package: PackageArgument,
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="FILE", help="What `release sign` wrote; else TAR.dsse.json."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings count as refusals: exit code 1. For CI.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say everything that a publish of this package would be refused for; nothing is stored.

    A signature beside it is checked; without one it says whether the package would be taken unsigned.

    Warnings stop no publish, but Projects that adopt the release. With --strict the registry has to answer.
    """
    data, read = open_package(package)
    envelope = beside(package, signature)
    answer: GateAnswer | None = None
    try:
        given = None if envelope is None else b64encode(envelope).decode()
        document = server.upload("registry", "releases", "check", data=data, signature=given, advice="true")
        answer = GateAnswer.model_validate(document)
    except NoAnswer as error:
        if strict:
            raise
        document = {
            "system": read.manifest.name,
            "version": read.manifest.version,
            "change": None,
            "refusals": [],
        }
        note(f"the package itself is well made; the registry's gate was not asked: {error.reason}")
    if as_json:
        show_json(document)
    if answer is not None:
        advise(answer.advice)
        refuse(answer.refusals)
    warnings = len(answer.advice) if answer else 0
    if answer is not None and (answer.refusals or (strict and warnings)):
        if not answer.refusals:
            note(f"{_warnings(warnings)}, and --strict takes none")
        raise typer.Exit(1)
    if not as_json:
        change = f" ({answer.change})" if answer and answer.change else ""
        who = "the registry would publish it" if answer else "its files are in order"
        mark = text(f"ok, {_warnings(warnings)}: ", "bold yellow") if warnings else text("ok: ", "bold green")
        say(line(mark, f"{read.manifest.name} {read.manifest.version}{change}: {who}"))
        if answer is not None and answer.signing is not None:
            proven = answer.signing.found == "signed"
            style = "green" if proven else "yellow" if answer.signing.accepted else "bold red"
            say(line(text(f"  {answer.signing.found}: ", style), answer.signing.said))


def _warnings(number: int) -> str:
    return f"{number} warning{'s' if number > 1 else ''}"


@app.command("publish")
@asks("library")
def publish(
    server: Server,
    package: PackageArgument,
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="FILE", help="What `release sign` wrote for these bytes."),
    ] = None,
    keys: KeyOption = None,
    builder: BuilderOption = None,
    as_json: AsJson = False,
) -> None:
    """Publish a package, signed. Published once, it never changes; the same bytes again are welcome.

    In a local world it is signed with that world's key.
    """
    data, read = open_package(package)
    envelope = signature_for(server, data, read, signature, keys or [], builder)
    stored = StoredContent.model_validate(server.upload("registry", "content", data=data))
    body = {"system": read.manifest.name, "version": read.manifest.version, "package": stored.digest}
    if envelope is not None:
        kept = StoredContent.model_validate(server.upload("registry", "content", data=envelope))
        body["signature"] = kept.digest
    document = _verdict(server, body)
    if as_json:
        show_json(document)
        return
    published = PublishAnswer.model_validate(document)
    advise(published.advice)
    release = published.release
    say(
        line(text("published ", "bold green"), f"{release.system} {release.version} ({published.change})"),
        f"  {release.summary}",
        f"  package {release.package}",
        _signed(release),
    )


@app.command("withdraw")
@asks("library")
def withdraw(
    server: Server,
    system: SystemArgument,
    version: VersionArgument,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; every Project that was told of it reads this.")
    ],
    as_json: AsJson = False,
) -> None:
    """Take a release out of what is offered; it stays readable."""
    document = server.command("registry", "releases", system, version, "withdraw", body={"reason": reason})
    if as_json:
        show_json(document)
        return
    release = ReleaseWithdrawn.model_validate(document).release
    say(f"withdrawn {release.system} {release.version}: {release.withdrawn}")


@app.command("list")
@asks("library")
def list_releases(
    server: Server,
    system: Annotated[str | None, typer.Argument(metavar="SYSTEM", help="Only this System's.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is published, the withdrawn releases among it."""
    document = server.read_all("registry", "releases", system=system)
    if as_json:
        show_json(document)
        return
    releases = [Release.model_validate(row) for row in document]
    table(
        ("system", "version", "published", "signed", "migrations", "summary"),
        [
            (
                text(release.system, "bold"),
                release.version,
                when(release.published_at),
                text("yes", "green") if release.signature else text("UNSIGNED", "bold red"),
                str(len(release.migrations)),
                text(f"withdrawn: {release.withdrawn}", "red") if release.withdrawn else release.summary,
            )
            for release in releases
        ],
        empty="nothing is published",
    )


@app.command("show")
@asks("library")
def show(server: Server, system: SystemArgument, version: VersionArgument, as_json: AsJson = False) -> None:
    """One release: what changed, what it requires, its migrations and how to migrate."""
    document = server.read("registry", "releases", system, version)
    if as_json:
        show_json(document)
        return
    answer = ReleaseAnswer.model_validate(document)
    release = answer.release
    say(line(text(f"{release.system} {release.version}", "bold"), f"  {release.summary}"))
    if release.withdrawn:
        say(text(f"withdrawn: {release.withdrawn}", "bold red"))
    say(f"published {when(release.published_at)} by {release.published_by}", f"package {release.package}")
    say(_signed(release))
    if release.required:
        say(text("every Project must adopt it", "bold yellow"))
    for sentence in release.breaking:
        say(line(text("breaking: ", "bold yellow"), sentence))
    for other, constraint in release.requires.items():
        say(f"requires {other} {constraint}")
    _section("changelog", answer.changelog)
    _section("migration notes", answer.migration_notes)
    if release.migrations:
        say("", text("migrations", "bold"))
    for migration in release.migrations:
        way_back = (
            text("has a way back", "green") if migration.reversible else text("no way back", "bold red")
        )
        phase = "; runs after activation" if migration.contracting else ""
        say(line(f"  {migration.name}  ", way_back, phase))


@app.command("export")
@asks("library")
def export(server: Server, system: SystemArgument, version: VersionArgument, out: OutFolder = Path()) -> None:
    """Keep a release's package, its signature and the registry's receipt in files, to verify them offline."""
    name = package_name(system, version)
    at = ("registry", "releases", system, version)
    signature, receipt = server.read_bytes(*at, "signature"), server.read_bytes(*at, "receipt")
    keep(out, name, server.read_bytes(*at, "package"))
    keep(out, f"{name}.dsse.json", signature)
    keep(out, f"{name}.receipt.dsse.json", receipt)


def _signed(release: Release) -> Text:
    signature = release.signature
    if signature is None:
        return text("  UNSIGNED: nobody proves that the Library made it", "bold red")
    return line("  signed ", text(f"by {signature.kid}, {when(signature.signed_at)}", "green"))


def _verdict(server: Server, body: Mapping[str, object]) -> Any:
    """The registry's verdict. While it is still checking, the same command is sent again."""
    key = str(uuid.uuid4())
    deadline = time.monotonic() + _VERDICT_DEADLINE_S
    while True:
        response = server.ask_command("registry", "releases", body=body, key=key, advice="true")
        if response.status_code != 202:
            return response.json()
        if time.monotonic() > deadline:
            raise NoAnswer(
                "the registry took the package and is still checking it",
                "ask later: upgradepath release list; or publish the same bytes again, which is harmless",
            )
        note("the registry is still checking the package …")
        time.sleep(1)


def _section(title: str, content: str) -> None:
    if content.strip():
        say("", text(title, "bold"), *(f"  {part}" for part in content.strip().splitlines()))
