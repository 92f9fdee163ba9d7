"""HashiCorp Vault as a source of secrets: the KV engine, version 2, by `hvac`.

A secret is the field `value` of `<mount>/<project>/<environment>/<name>`.
"""

import threading
from collections import OrderedDict
from pathlib import Path

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, Unauthorized, VaultError

from shared.clients.secret_sources import VALUE_BYTES_MAX, SecretPlace, UnusableSecret
from shared.errors import Retry
from shared.project_settings import VaultSettings

_FIELD = "value"
_KEPT_MAX = 10_000


class VaultSource:
    """Reads from Vault; what a stage's beginning has read is what the stage sees."""

    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings
        self._client: hvac.Client | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[SecretPlace, str | None] = OrderedDict()

    def read(self, place: SecretPlace) -> str | None:
        if place not in self._kept:
            self.refresh((place,))
        return self._kept[place]

    def where(self, place: SecretPlace) -> str:
        return f"Vault's {self._settings.mount}/{place}, field {_FIELD}"

    def unscoped(self, name: str) -> str | None:
        """Nothing was ever read from elsewhere in Vault."""
        return None

    def refresh(self, places: tuple[SecretPlace, ...]) -> None:
        with self._lock:
            for place in places:
                self._kept[place] = self._ask(place)
                self._kept.move_to_end(place)
            while len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)

    def _ask(self, place: SecretPlace) -> str | None:
        try:
            try:
                return self._value(place)
            except (Forbidden, Unauthorized):
                # A login of hours ago has run out: once more with a new one.
                self._client = None
                return self._value(place)
        except (Forbidden, Unauthorized):
            raise Retry(
                f"Vault does not let this worker read {self._settings.mount}/{place}: allow `read` on"
                f" {self._settings.mount}/data/{place.project}/* in its policy, or renew its token"
            ) from None
        except (VaultError, requests.RequestException, OSError) as error:
            # Its text may hold a header or a token.
            raise Retry(
                f"Vault at {self._settings.address} cannot be asked ({type(error).__name__}): see that it is"
                " up and unsealed, and that UPGRADES_VAULT_ADDRESS and its certificate are right"
            ) from None

    def _value(self, place: SecretPlace) -> str | None:
        if self._client is None:
            self._client = self._logged_in()
        try:
            answer = self._client.secrets.kv.v2.read_secret_version(
                path=str(place), mount_point=self._settings.mount, raise_on_deleted_version=True
            )
        except InvalidPath:
            return None
        data = answer.get("data", {}).get("data") if isinstance(answer, dict) else None
        value = data.get(_FIELD) if isinstance(data, dict) else None
        if not isinstance(value, str) or len(value.encode()) > VALUE_BYTES_MAX:
            raise UnusableSecret(
                f"{self.where(place)} is not a text of at most {VALUE_BYTES_MAX >> 10} KiB: write it with"
                f" `vault kv put {self._settings.mount}/{place} {_FIELD}=…`"
            )
        return value

    def _logged_in(self) -> hvac.Client:
        told = self._settings
        client = hvac.Client(
            url=told.address,
            namespace=told.namespace,
            timeout=told.answer_within_s,
            verify=True if told.ca_file is None else str(told.ca_file),
            allow_redirects=False,
        )
        if told.kubernetes_role is not None:
            client.auth.kubernetes.login(
                role=told.kubernetes_role,
                jwt=_text(told.kubernetes_token_file),
                mount_point=told.kubernetes_mount,
            )
        elif told.approle_role_id is not None:
            secret = None if told.approle_secret_id is None else told.approle_secret_id.get_secret_value()
            client.auth.approle.login(
                role_id=told.approle_role_id, secret_id=secret, mount_point=told.approle_mount
            )
        elif told.token_file is not None:
            client.token = _text(told.token_file)
        elif told.token is not None:
            client.token = told.token.get_secret_value()
        else:
            # hvac would otherwise take a token that it finds in the home of the worker's user.
            raise Retry(
                "nothing proves this worker to Vault: set UPGRADES_VAULT_TOKEN, _TOKEN_FILE, _KUBERNETES_ROLE"
                " or _APPROLE_ROLE_ID"
            )
        return client


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
