"""Secrets by name, within the scope of who asks; their values never in a log or a message."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from shared.clients.secret_sources import (
    SCOPES,
    FolderSource,
    Scope,
    SecretPlace,
    SecretSource,
    UnusableSecret,
    VariableSource,
)
from shared.contracts.projects import Project
from shared.contracts.stages import Finding

_PREFIX = "secret:"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,199}")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{0,62}")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*:[^\s/@]+)(?=@)")
_HIDDEN = "***"
# Hiding every "1" or "on" would make a log unreadable and protect nobody.
_HIDE_FROM_CHARACTERS = 4
BACKUP_KEY = "secret:backup-key"
BACKUP_RECIPIENTS = "secret:backup-recipients"
"""Secrets of production that a Project may have: keys that open, and seal, its backups."""
HIDDEN_MAX = 1000
"""Values of one scope that were resolved last. Credentials that are made anew each hour would fill a process
of years, and slow every answer; those of the jobs that are under way are far fewer."""
_SCOPES_MAX = 1000
Seen = OrderedDict[str, set[str]]
"""Each value that was resolved, the last one last, with the passwords of the URL that it may be."""


class MissingSecret(Exception):
    """The worker cannot see a secret that a Project names."""

    def __init__(self, place: SecretPlace, looked_at: tuple[str, ...], unscoped: str | None = None) -> None:
        said = f"secret {place.name!r} of {place.project} for {place.environment} is not here; looked at"
        if unscoped is not None:
            looked_at = (*looked_at, f"{unscoped} is of no Project and never used: move it to one of these")
        super().__init__(f"{said} {' and '.join(looked_at)}")
        self.name = place.name
        self.looked_at = looked_at


def lacking(error: MissingSecret | UnusableSecret) -> Finding:
    """The finding asks those who name or keep the secret: no other try mends it, and an SRE has none."""
    name = f"secret {error.name}" if isinstance(error, MissingSecret) else "a secret"
    return Finding(
        kind="environment",
        subject=name,
        detail=str(error),
        cure="put the secret where the worker looks, or ask whoever keeps the worker's secrets, or name"
        " one that is there in upgradepath.toml; then retry the stage",
    )


class ForbiddenScope(Exception):
    """This worker resolves no secret of that environment, whoever names it."""


class Secrets:
    """The secrets that a worker can see; `of` gives those of one Project and environment.

    They lie in `<folder>/<project>/<environment>/<name>`, in variables of `environ`, and in `more` sources.
    `scopes` are the environments that this worker acts for: nothing else is ever resolved. `own` are the
    worker's own secrets, which nobody's text may show.
    """

    def __init__(
        self,
        folder: Path | None,
        environ: Mapping[str, str],
        *,
        more: Sequence[SecretSource] = (),
        scopes: Sequence[Scope] = SCOPES,
        own: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._own: Seen = OrderedDict((value, _passwords_in(value)) for value in own)
        files = () if folder is None else (FolderSource(folder),)
        self._sources: tuple[SecretSource, ...] = (*files, VariableSource(environ), *more)
        self._scopes = frozenset(scopes)
        self._seen: OrderedDict[tuple[str, Scope], Seen] = OrderedDict()
        """By Project and environment."""

    def __repr__(self) -> str:
        return f"Secrets(folder={str(self._folder)!r})"

    def of(self, project: str, environment: Scope) -> "ScopedSecrets":
        """The secrets of one Project for code that acts for this environment. Raises `ForbiddenScope`."""
        if environment not in self._scopes:
            raise ForbiddenScope(f"this worker resolves no secret of {environment}")
        if not _PROJECT.fullmatch(project):
            raise ValueError(f"{project!r} is not a Project's id")
        return ScopedSecrets(self, project, environment)

    async def prepare(self, project: Project) -> None:
        """Fetch what the Project names from sources that answer slowly, so that `resolve` need not wait.

        Raises `Retry` when such a source cannot be asked.
        """
        places = tuple(place for place in named_by(project) if place.environment in self._scopes)
        for source in self._sources:
            await asyncio.to_thread(source.refresh, places)

    def read(self, place: SecretPlace) -> str:
        """The value there. Raises `MissingSecret`, `UnusableSecret`, or `Retry` for a silent source."""
        for source in self._sources:
            value = source.read(place)
            if value is None:
                continue
            if "\0" in value:
                where = source.where(place)
                raise UnusableSecret(f"the secret in {where} holds a NUL byte; write it anew, as text")
            self._remember(place, value)
            return value
        old = (source.unscoped(place.name) for source in self._sources)
        looked_at = tuple(source.where(place) for source in self._sources)
        raise MissingSecret(place, looked_at, next(filter(None, old), None))

    def redact(self, project: str, text: str) -> str:
        """`text`, which speaks of this Project, without the values of any of its environments."""
        return self.redact_in([(project, scope) for scope in SCOPES], text)

    def redact_in(self, scopes: Sequence[tuple[str, Scope]], text: str) -> str:
        """`text` with every value resolved in these scopes, and every URL's password, replaced by `***`.

        Nothing of another scope is hidden: who could see that his own words were would know what he guessed.
        """
        seen = [self._own, *(self._seen[scope] for scope in scopes if scope in self._seen)]
        # Longest first: one secret may be a part of another.
        values = (value for some in seen for value in some if len(value) >= _HIDE_FROM_CHARACTERS)
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, _HIDDEN)
        # Most texts hold none: to look costs less than to compile an expression for each.
        passwords = {one for some in seen for found in some.values() for one in found if one in text}
        for password in sorted(passwords, key=len, reverse=True):
            # Whole words only: a password that is a word would make every longer one unreadable.
            text = re.sub(rf"(?<!\w){re.escape(password)}(?!\w)", _HIDDEN, text)
        return without_passwords(text)

    def _remember(self, place: SecretPlace, value: str) -> None:
        seen = self._seen.setdefault((place.project, place.environment), OrderedDict())
        self._seen.move_to_end((place.project, place.environment))
        seen[value] = _passwords_in(value)
        seen.move_to_end(value)
        if len(seen) > HIDDEN_MAX:
            seen.popitem(last=False)
        if len(self._seen) > _SCOPES_MAX:
            self._seen.popitem(last=False)


@dataclass(frozen=True)
class ScopedSecrets:
    """What one Project's names mean to code that acts for one of its environments.

    The environment comes from who asks and never from a name: what acts for staging has no way to say
    production's secret.
    """

    secrets: Secrets
    project: str
    environment: Scope

    def resolve(self, reference: str) -> str:
        """The value behind `secret:<name>`, without trailing newlines.

        Raises `MissingSecret`, `UnusableSecret`, ValueError for what is not a name, and `Retry`.
        """
        name = reference.removeprefix(_PREFIX)
        if not reference.startswith(_PREFIX) or not _NAME.fullmatch(name):
            raise ValueError("a secret is named secret:<name>, in small letters, digits and hyphens")
        return self.secrets.read(SecretPlace(self.project, self.environment, name))

    def value(self, text: str) -> str:
        """`text` itself, or what is behind it when it is a `secret:` reference."""
        return self.resolve(text) if text.startswith(_PREFIX) else text

    def redact(self, text: str) -> str:
        """As `Secrets.redact_in`: whatever was resolved in this scope is hidden."""
        return self.secrets.redact_in([(self.project, self.environment)], text)


def named_by(project: Project) -> list[SecretPlace]:
    """Every secret that a registered Project names or may have, each in the scope in which it is resolved."""
    definition = project.definition
    production, staging = definition.environments.production, definition.environments.staging
    named: list[tuple[Scope, str]] = [
        *(("production", text) for text in (production.database, *production.variables.values())),
        *(("production", text) for text in (BACKUP_KEY, BACKUP_RECIPIENTS)),
        *(("staging", text) for text in (staging.database, *staging.variables.values())),
    ]
    if definition.credential is not None:
        named.append(("repository", definition.credential))
    return [
        SecretPlace(project.id, scope, text.removeprefix(_PREFIX))
        for scope, text in named
        if text.startswith(_PREFIX) and _NAME.fullmatch(text.removeprefix(_PREFIX))
    ]


def _passwords_in(value: str) -> set[str]:
    """The password of a URL, as it is written there and as it is meant."""
    written = {found.partition(":")[2] for found in _URL_PASSWORD.findall(value)}
    return {one for text in written for one in (text, unquote(text)) if len(one) >= _HIDE_FROM_CHARACTERS}


def without_passwords(text: str) -> str:
    """`text` with the password of every URL in it replaced by `***`."""
    return _URL_PASSWORD.sub(lambda found: f"{found[0].partition(':')[0]}:{_HIDDEN}", text)
