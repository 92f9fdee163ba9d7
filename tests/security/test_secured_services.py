"""The five services over SASL_SSL, each as its own principal that may do what it needs and nothing else."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from services.access import default_principal
from shared.contracts.topics import SERVICES
from tests.conftest import PostgresServer
from tests.support.portal import Portal, publish_examples
from tests.support.secured_kafka import ADMIN, SecuredKafka
from tests.support.system import FiveProcesses, run_command


def variables(kafka: SecuredKafka, role: str) -> dict[str, str]:
    return kafka.variables(default_principal(role).removeprefix("User:"))


# Two JVMs and five services start: on a machine with other work that alone takes minutes.
@pytest.mark.timeout(900)
async def test_a_release_goes_through_five_services_that_the_broker_knows_apart(
    secured_kafka: SecuredKafka, postgres: PostgresServer
) -> None:
    with TemporaryDirectory(prefix="upgradepath-secured-") as folder:
        system = FiveProcesses(
            Path(folder) / "world",
            secured_kafka,
            postgres,
            prefix="secured",
            per_service={name: variables(secured_kafka, name) for name in SERVICES},
            settings=secured_kafka.settings(ADMIN),
        )
        async with system.running():
            await publish_examples(system)
            portal = await Portal.make(system, "secured")
            try:
                await portal.introduce()
                run = await portal.mira.start(await portal.mira.plan("auth-system"))
                assert (await portal.mira.proven(run.id)).candidate is not None
                # Its staging is taken away, or something would go on when the portal is closed.
                assert (await portal.mira.roll_back(run.id)).status == "rolled-back"
            finally:
                await portal.close()
            sre = {**variables(secured_kafka, "sre"), "UPGRADEPATH_WORLD": folder}
            code, said = await run_command(["topics", "lag", "--all"], sre)
            assert code == 0, said
            assert "upgrades.validator.validator.commands" in said
        for secret in (secured_kafka.password(user) for user in secured_kafka.users):
            assert secret not in system.logs()
