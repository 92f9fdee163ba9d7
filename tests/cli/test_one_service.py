"""`upgradepath service` as a process of its own."""

import asyncio
import subprocess
import sys


async def test_wrong_settings_are_named_before_anything_runs() -> None:
    command = [sys.executable, "-m", "cli", "service", "planner"]
    environment = {"UPGRADES_TOKEN_KEY": "a shared secret", "UPGRADES_CONTENT_URL": "nonsense"}
    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 2
    for field in ("UPGRADES_PLANNER_DATABASE_URL", "content_url", "token_key", "token_public_keys"):
        assert field in ended.stderr
    assert "upgradepath key new" in ended.stderr
    assert "a shared secret" not in ended.stderr
    assert "Traceback" not in ended.stderr
