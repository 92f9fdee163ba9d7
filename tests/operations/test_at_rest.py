"""What a service that has had no work yet does not hold in memory."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.contracts.topics import SERVICES
from tests.support.keys import JWKS
from tests.support.proofs import key_variables

ROOT = Path(__file__).resolve().parents[2]
LATER = {
    "alembic": "changes a schema, at the first start only",
    "httpx": "fetches a package once, or does a check",
    "obstore": "comes with the first file, which most services at rest have not asked for",
    "opentelemetry.sdk": "sends traces to whoever has named an endpoint",
    "postgast": "reads SQL: comes with the first stage or the first package",
    "pydantic.v1": "models that nobody has, which FastAPI asks after",
    "rich": "is the command line's",
    "typer": "is the command line's",
    "wasmtime": "reads schemas: comes with the first of them",
}
BUILD = """
import json, sys
import cli.one_service
from services.processes import build
build(sys.argv[1])
print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
"""


@pytest.mark.parametrize("service", SERVICES)
async def test_what_comes_with_the_first_work_is_not_there_before(service: str, tmp_path: Path) -> None:
    variables = {
        "UPGRADES_CONTENT_URL": "memory:///",
        "UPGRADES_TOKEN_PUBLIC_KEYS": JWKS,
        **key_variables(service),
        "UPGRADES_WORK_FOLDER": str(tmp_path),
        f"UPGRADES_{service.upper()}_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    }
    command = [sys.executable, "-c", BUILD, service]
    built = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=True, cwd=ROOT, env=variables
    )
    loaded = set(json.loads(built.stdout))
    assert f"services.{service}.app" in loaded
    assert not loaded & set(LATER)
