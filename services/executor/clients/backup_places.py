"""Where backups lie: today's place, the one that the journal names for a backup, and those of before.

A setting may change while backups are kept. So each backup's place is journalled with it, and a place that
cannot be asked is never taken for one that has nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.clients.content import ContentStore
from shared.contracts.values import Digest
from shared.errors import Reject, Retry
from shared.jobs.job import Effect

PLACE = "backup place"
"""The effect that says where a backup is put: its digest, a space and the place."""


def place_of(url: str) -> str:
    """A store's URL without what may be a password: the journal is no place for one."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def noted_place(effects: Iterable[Effect], digest: Digest) -> str | None:
    """The place that was journalled with this backup; none for one of an earlier version."""
    said = [effect.detail for effect in effects if effect.name == PLACE]
    found = [detail.partition(" ")[2] for detail in said if detail.partition(" ")[0] == digest]
    return found[-1] if found else None


@dataclass(frozen=True)
class EarlierPlaces:
    """Stores besides today's, by their places. `options` are today's: what today's client takes besides."""

    stores: Mapping[str, ContentStore] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, default: str, urls: Iterable[str], today: str, options: Mapping[str, str]) -> "EarlierPlaces":
        """The default one and those of the settings, without today's.

        The default one lies in the content store and is opened as that is: a credential of today's place
        need not open it.
        """
        known = {place_of(default): ContentStore(default)}
        for url in urls:
            known.setdefault(place_of(url), ContentStore(url, _fitting(url, today, options)))
        known.pop(place_of(today), None)
        return cls(known, options)

    def besides(self, today: str, noted: str | None) -> Iterator[tuple[str, ContentStore]]:
        """All of them but today's, the noted one first."""
        if noted is not None and noted != today:
            yield noted, self.stores.get(noted) or ContentStore(noted, _fitting(noted, today, self.options))
        for place, store in self.stores.items():
            if place not in (noted, today):
                yield place, store


async def holds(place: str, store: ContentStore, digest: Digest, *, expected: bool) -> bool:
    """True when the place has it. Raises `Retry` when it cannot be asked, or seems to be another disk.

    `expected` says that it was put there: then a folder without any file is one whose disk is away.
    """
    return is_there(place, expected=expected) and await store.has(digest)


async def taken_from(place: str, store: ContentStore, digest: Digest, path: Path, *, expected: bool) -> bool:
    """Write it to `path`; False when it is not there. Raises `Retry` as `holds` does, and `Corrupted`."""
    if not is_there(place, expected=expected):
        return False
    try:
        await store.get_to_file(digest, path)
    except Reject:
        return False
    return True


def is_there(place: str, *, expected: bool = False) -> bool:
    """True when the place can have anything; a folder that is not there is not made by a question.

    Raises `Retry` when something is expected there, and it cannot.
    """
    parts = urlsplit(place)
    if parts.scheme != "file":
        return True
    folder = Path(unquote(parts.path))
    there = (folder / "sha256").is_dir()
    if expected and not there:
        raise Retry(f"{folder} holds no backup at all: is its disk there?")
    return there


def _fitting(url: str, today: str, options: Mapping[str, str]) -> Mapping[str, str]:
    """Today's options, for a place of the same kind: one kind's client does not take another's."""
    return options if urlsplit(url).scheme == urlsplit(today).scheme else {}
