"""Lists of the registry, page by page."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Text, cast, func, select, tuple_
from sqlmodel import col

from services.registry.domain.version_maps import Event
from services.registry.store.tables import MAP_EVENTS, ReleaseRow, VersionMapHistoryRow
from services.registry.store.transaction import RegistryTransaction
from shared.contracts.releases import Release
from shared.contracts.version_maps import VersionMapRecorded
from shared.storage.page_room import room_for, rows_that_fit
from shared.versions import precedence

_Name = tuple[str, str]
"""System and version."""


async def releases_page(
    tx: RegistryTransaction, system: str | None, withdrawn: bool | None, after: _Name | None, most: int
) -> tuple[list[Release], bool]:
    """Releases behind `after`, by System, the newest first, and whether more follow.

    Fewer than `most`, as many as a page has room for.
    """
    query = select(col(ReleaseRow.system), col(ReleaseRow.version)).order_by(col(ReleaseRow.system))
    if system is not None:
        query = query.where(col(ReleaseRow.system) == system)
    if withdrawn is not None:
        query = query.where(col(ReleaseRow.withdrawal).is_not(None) == withdrawn)
    if after is not None:
        query = query.where(col(ReleaseRow.system) >= after[0])
    names = [(name, version) for name, version in await tx.session.execute(query)]
    # PostgreSQL does not know the order of versions: names are few bytes, only the page's documents are read.
    chosen = list(islice(_behind(after, _newest_first(names)), most))
    size = func.octet_length(cast(ReleaseRow.published, Text))
    sized = await tx.session.execute(
        select(col(ReleaseRow.system), col(ReleaseRow.version), size).where(
            tuple_(col(ReleaseRow.system), col(ReleaseRow.version)).in_(chosen)
        )
    )
    sizes = {(name, version): length for name, version, length in sized}
    fit = rows_that_fit([sizes.get(name, 0) for name in chosen], most)
    more, chosen = len(chosen) > fit, chosen[:fit]
    rows = await tx.session.execute(
        select(ReleaseRow)
        .where(tuple_(col(ReleaseRow.system), col(ReleaseRow.version)).in_(chosen))
        .execution_options(populate_existing=True)
    )
    found = {(row.system, row.version): row.release() for row in rows.scalars()}
    return [found[name] for name in chosen if name in found], more


def _newest_first(names: Sequence[_Name]) -> Iterator[_Name]:
    for system, of_it in groupby(names, key=lambda name: name[0]):
        versions = sorted((version for _, version in of_it), key=_order, reverse=True)
        yield from ((system, version) for version in versions)


def _behind(after: _Name | None, names: Iterator[_Name]) -> Iterator[_Name]:
    if after is None:
        return names
    # The row itself may be withdrawn meanwhile, and no longer among them: its place still is.
    system, order = after[0], _order(after[1])
    return (name for name in names if name[0] != system or _order(name[1]) < order)


def _order(version: str) -> Any:
    """One place for each version: those that differ in build metadata alone have the same precedence."""
    return precedence(version), version


async def history_page(
    tx: RegistryTransaction, project: str, before: int | None, most: int
) -> tuple[list[tuple[int, str, datetime, Event]], bool]:
    """Events of the Project's map before that revision: revision, name, when, and the event.

    Fewer than `most`, as many as a page has room for, and whether more follow.
    """
    query = (
        select(VersionMapHistoryRow)
        .where(col(VersionMapHistoryRow.project) == project)
        .order_by(col(VersionMapHistoryRow.revision).desc())
    )
    if before is not None:
        query = query.where(col(VersionMapHistoryRow.revision) < before)
    fit, more = await room_for(tx.session, query, col(VersionMapHistoryRow.event), most=most)
    return [
        (row.revision, row.event_type, row.happened_at, MAP_EVENTS[row.event_type].model_validate(row.event))
        for row in (await tx.session.execute(query.limit(fit))).scalars()
    ], more


async def recorded_map(tx: RegistryTransaction, project: str, run_id: str | None) -> Event | None:
    """The newest event that recorded the Project's pins, or those of this Run; None without one."""
    event = col(VersionMapHistoryRow.event)
    query = (
        select(event)
        .where(
            col(VersionMapHistoryRow.project) == project,
            col(VersionMapHistoryRow.event_type) == VersionMapRecorded.__name__,
        )
        .order_by(col(VersionMapHistoryRow.revision).desc())
        .limit(1)
    )
    if run_id is not None:
        query = query.where(event["version_map"]["run_id"].as_string() == run_id)
    found = (await tx.session.execute(query)).scalar_one_or_none()
    return None if found is None else VersionMapRecorded.model_validate(found)
