"""What registry and executor are told of packages' signatures."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from shared.identity.keys import UnusableKey
from shared.settings import ServiceSettings
from shared.signing.library_keys import LibraryKeys, LibraryKeysFile
from shared.signing.trust import LIBRARY_KEYS, Trust, Unsigned, UnsignedSetting, registry_keys


class PackageSettings(ServiceSettings):
    """The settings of a service that uses packages: who signs them, and which may be unsigned."""

    library_keys: str | None = Field(
        default=None,
        description="the Library's public keys and from when to when each is good, or their file",
    )
    allow_unsigned: UnsignedSetting = Field(
        default=Unsigned(), description="packages that may be unsigned: true, or their digests with commas"
    )

    @property
    def trust(self) -> Trust:
        """Whose packages are taken. Raises `UnusableKey`."""
        services = self.keys().public
        return Trust(self._library_keys(), registry_keys(services), self.allow_unsigned)

    def _library_keys(self) -> LibraryKeys | LibraryKeysFile:
        given = self.library_keys
        if not given:
            return LibraryKeys()
        try:
            if given.lstrip().startswith("{"):
                return LibraryKeys.load(given)
            return LibraryKeysFile(Path(given))
        except UnusableKey as error:
            raise UnusableKey(f"{LIBRARY_KEYS}: {error}") from error

    @model_validator(mode="after")
    def _library_has_keys_of_its_own(self) -> Self:
        try:
            library = self.trust.library.for_("library")
            peoples = [source.keys() for source in self.token_verifier().sources]
            others = [key for keys in (self.keys().public, *peoples) for key in keys.by_kid.values()]
        except UnusableKey as error:
            raise ValueError(str(error)) from error
        for kid, public in library.items():
            if public in others:
                raise ValueError(
                    f"{LIBRARY_KEYS}: the key {kid!r} has another use already, for services or for tokens:"
                    " give the Library a key of its own"
                )
        return self
