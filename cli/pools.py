"""Which worker pools there are, as the command line is told: `--pool NAME` and UPGRADES_POOLS."""

from typing import Annotated

import typer
from pydantic import ValidationError

from shared.contracts.envelope import explain
from shared.contracts.topics import POOLED, SERVICES, principal_of
from shared.pools import PoolSettings, read_names

Pools = Annotated[
    list[str] | None,
    typer.Option("--pool", metavar="NAME", help="A worker pool, besides those of UPGRADES_POOLS."),
]


def known_pools(named: list[str] | None = None) -> tuple[str, ...]:
    """Those of UPGRADES_POOLS, and these. Raises typer's BadParameter for what is not a name."""
    try:
        return tuple(dict.fromkeys((*PoolSettings().pools, *read_names(named or []))))
    except ValidationError as error:
        raise typer.BadParameter(f"UPGRADES_POOLS: {explain(error)}") from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def known_principals() -> tuple[str, ...]:
    """The five services, and the workers of every pool: `executor.acme`."""
    pooled = (principal_of(service, pool) for pool in known_pools() for service in POOLED)
    return (*SERVICES, *pooled)


def known_service(service: str | None) -> None:
    """Raises typer's BadParameter for a name that is none of them."""
    known = known_principals()
    if service is not None and service not in known:
        raise typer.BadParameter(f"{service!r} is none of: {', '.join(known)}")
