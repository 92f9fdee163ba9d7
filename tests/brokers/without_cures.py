"""`python -m tests.brokers.without_cures`: each cure is taken away, and the tests of its trap must fail.

One pytest for each, into which this module is loaded as a plugin; the variable names what is taken away.
Not among them: that topics are not made by being read, which our Apache Kafka forbids by itself, and that
FastStream's handlers, acknowledgements and batches of messages are not used at all.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faststream.kafka import KafkaBroker

from shared.contracts.envelope import Unreadable, receive
from shared.messaging import consumer, dead_letters, inbox, publisher, relay, topic_reader
from shared.messaging.consumer import Consumer
from shared.messaging.progress import Progress
from shared.messaging.record_reader import RecordReader
from shared.messaging.relay import Relay
from shared.storage import database
from shared.storage.database import Transaction
from tests.brokers import tiny_service

VARIABLE = "UPGRADEPATH_WITHOUT_CURE"
ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/brokers"
_ENDS_WITHIN_S = 240.0

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Cure:
    """What keeps us out of a trap, how it is taken away, and the tests that must fail then."""

    trap: str
    take_away: Callable[[Patch], None]
    tests: tuple[str, ...]
    brokers: str = "embedded"


def _nothing_is_buried(patch: Patch) -> None:
    async def take_alone(self: Consumer[Any], record: Any, received: Any) -> None:
        await self.inbox.handle_alone(received)

    patch.setattr(Consumer, "_take_alone", take_alone)


def _what_is_unreadable_is_an_error(patch: Patch) -> None:
    def read(self: RecordReader, record: Any) -> Any:
        try:
            return receive(record.headers, record.value)
        except Unreadable as error:
            raise RuntimeError(str(error)) from error

    patch.setattr(RecordReader, "_receive", read)


def _a_command_of_nobody_is_skipped(patch: Patch) -> None:
    patch.setattr(RecordReader, "_receive", lambda self, record: receive(record.headers, record.value))


def _offsets_first(patch: Patch) -> None:
    async def poll(self: Consumer[Any], reading: Any) -> None:
        while True:
            polled = await reading.getmany(timeout_ms=200)
            if polled:
                await reading.commit()
                await self._take_polled(polled)

    patch.setattr(Consumer, "_poll", poll)


def _no_second_try_to_connect(patch: Patch) -> None:
    async def run(self: Consumer[Any]) -> None:
        await self.broker.connect()
        await asyncio.gather(*(self._consume(subscriber) for subscriber in self._subscribers))

    patch.setattr(Consumer, "_run", run)


def _no_inbox(patch: Patch) -> None:
    async def nothing(tx: object, messages: object) -> dict[Any, Any]:
        return {}

    patch.setattr(Transaction, "remember", lambda self, entry: None)
    patch.setattr(inbox, "known_of", nothing)


def _buried_again_and_again(patch: Patch) -> None:
    async def all_of_them(records: Any, tx: Any) -> set[tuple[str, str]]:
        return {dead_letters.place(record) for record in records}

    patch.setattr(dead_letters, "first_time", all_of_them)


def _producer_as_it_comes(patch: Patch) -> None:
    def as_it_comes(**given: Any) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=given["bootstrap_servers"])

    patch.setattr(publisher, "AIOKafkaProducer", as_it_comes)


def _subscriber_as_it_comes(patch: Patch) -> None:
    ours: Any = KafkaBroker.subscriber

    def subscriber(self: Any, *topics: str, **given: Any) -> Any:
        for name in ("auto_offset_reset", "isolation_level"):
            given.pop(name, None)
        return ours(self, *topics, **given)

    patch.setattr(KafkaBroker, "subscriber", subscriber)


def _any_size(patch: Patch) -> None:
    patch.setattr(database, "BODY_BYTES_MAX", 10**12)


def _no_static_membership(patch: Patch) -> None:
    ours = tiny_service.program
    patch.setattr(
        tiny_service, "program", lambda name, url, settings, instance=None: ours(name, url, settings)
    )


def _names_as_aiokafka_reads_them(patch: Patch) -> None:
    for module in (consumer, topic_reader):
        patch.setattr(module, "read_all_names", lambda: None)


def _nobody_looks(patch: Patch) -> None:
    async def check(self: Progress) -> None:
        """All is well."""

    patch.setattr(Progress, "check", check)


def _the_first_error_ends_the_relay(patch: Patch) -> None:
    async def run(self: Relay) -> None:
        while True:
            await self._lead()
            await asyncio.sleep(0.1)

    patch.setattr(Relay, "_run", run)


def _who_hangs_leads_on(patch: Patch) -> None:
    ours = Relay.__init__

    def init(self: Relay, *about: Any, **more: Any) -> None:
        ours(self, *about, **more)
        self._hung_after_s = 3600

    patch.setattr(Relay, "__init__", init)


class _AnotherEachTime:
    numbers = itertools.count(1)

    def __format__(self, how: str) -> str:
        return str(next(self.numbers))


def _everybody_leads(patch: Patch) -> None:
    patch.setattr(relay, "_LEADER_LOCK", _AnotherEachTime())


_TRAPS, _POISON, _LOST, _FAULTS = (
    f"{HERE}/test_{name}.py::test_" for name in ("traps", "poison", "nothing_lost", "faults")
)

CURES: dict[str, Cure] = {
    "offsets-after-the-commit": Cure(
        "ACK_FIRST loses what a killed handler had",
        _offsets_first,
        (
            f"{_LOST}offsets_are_committed_only_after_the_database",
            f"{_LOST}a_consumer_that_ends_in_the_middle_of_a_batch_has_done_nothing",
            f"{_TRAPS}ack_commits_every_assigned_position",
        ),
    ),
    "dead-letters": Cure(
        "NACK_ON_ERROR: one poison runs for ever",
        _nothing_is_buried,
        (f"{_TRAPS}nack_on_error_one_poison_runs_15446_times",),
    ),
    "unreadable-is-a-verdict": Cure(
        "what fails validation, or has headers that are no text, sticks or is lost",
        _what_is_unreadable_is_an_error,
        (f"{_POISON}a_poison_of_every_kind_costs_one_record_each",),
    ),
    "unhandled-command": Cure(
        "a command that nobody handles is lost",
        _a_command_of_nobody_is_skipped,
        (f"{_POISON}a_poison_of_every_kind_costs_one_record_each",),
    ),
    "header-names": Cure(
        "a header name that is not UTF-8 sticks its partition inside aiokafka",
        _names_as_aiokafka_reads_them,
        (f"{_TRAPS}a_header_name_that_is_not_utf_8_costs_one_record",),
    ),
    "buried-once": Cure(
        "a poison that is read again is put away again",
        _buried_again_and_again,
        (f"{_POISON}a_poison_that_is_read_again_is_put_away_once",),
    ),
    "inbox": Cure(
        "results are published twice, and a blocked loop has its messages come again",
        _no_inbox,
        (f"{_LOST}duplicates_are_skipped", f"{_POISON}the_same_id_with_another_body_is_a_dead_letter"),
    ),
    "producer-settings": Cure(
        "acks=1 and no idempotence by default",
        _producer_as_it_comes,
        (f"{_TRAPS}aiokafkas_defaults_are_all_overridden",),
    ),
    "subscriber-settings": Cure(
        "latest and read_uncommitted by default",
        _subscriber_as_it_comes,
        (f"{_TRAPS}aiokafkas_defaults_are_all_overridden",),
    ),
    "size-limit": Cure(
        "a message too large for its topic stops the outbox",
        _any_size,
        (f"{_TRAPS}a_message_too_large_for_its_topic_never_reaches_the_outbox",),
    ),
    "waiting-for-the-broker": Cure(
        "a broker that is absent at the start ends the process",
        _no_second_try_to_connect,
        (f"{_FAULTS}a_service_that_starts_before_its_broker_waits_for_it",),
    ),
    "static-membership": Cure(
        "a killed member's partitions lie idle until its session is over",
        _no_static_membership,
        (f"{_TRAPS}a_killed_member_has_its_partitions_again_before_its_session_is_over",),
        "",
    ),
    "watchdog-on-progress": Cure(
        "consumers are stuck after a rebalance (aiokafka #1154, #847, #1037)",
        _nobody_looks,
        (f"{_TRAPS}stuck_consumers_after_a_rebalance_are_noticed",),
        "",
    ),
    "a-new-producer": Cure(
        "OutOfOrderSequence stays until the producer is made again (aiokafka #1017)",
        _the_first_error_ends_the_relay,
        (f"{_TRAPS}out_of_order_sequence_needs_a_new_producer",),
    ),
    "idle-session-timeout": Cure(
        "a leader that hangs keeps the outbox for good",
        _who_hangs_leads_on,
        (f"{_TRAPS}a_leader_that_hangs_loses_its_place",),
        "",
    ),
    "one-relay": Cure(
        "two relays send the same rows, each in its own order",
        _everybody_leads,
        (f"{_FAULTS}only_one_relay_sends_and_the_other_takes_over",),
    ),
}


def pytest_configure() -> None:
    """Loaded into a pytest: take the named cure away before a test is collected."""
    CURES[os.environ[VARIABLE]].take_away(Patch())


def fails_without(name: str, test: str) -> tuple[bool, str]:
    """Whether the test fails when that cure is taken away, and the last line that pytest says."""
    chosen = ["-k", CURES[name].brokers] if CURES[name].brokers else []
    words = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.brokers.without_cures", test, *chosen)
    ran = subprocess.run(
        [*words, "-p", "no:cacheprovider"],
        check=False,
        cwd=ROOT,
        env=os.environ | {VARIABLE: name},
        capture_output=True,
        text=True,
        timeout=_ENDS_WITHIN_S,
    )
    last = ran.stdout.strip().rpartition("\n")[2]
    # An error in a fixture is no proof of anything.
    return ran.returncode == pytest.ExitCode.TESTS_FAILED and " error" not in last, last


def main() -> None:
    """Exits 1 when some test does not miss its cure."""
    parser = argparse.ArgumentParser(prog="python -m tests.brokers.without_cures", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="CURE", help=f"of {', '.join(CURES)}; all of them if none"
    )
    missed = True
    for name in parser.parse_args().names or CURES:
        print(f"{name}: {CURES[name].trap}")
        for test in CURES[name].tests:
            began = time.monotonic()
            fails, last = fails_without(name, test)
            missed = missed and fails
            said = "fails" if fails else f"DOES NOT FAIL: {last}"
            print(f"  {said:<6} {test.rpartition('::')[2]} ({time.monotonic() - began:.0f} s)", flush=True)
    raise SystemExit(0 if missed else 1)


if __name__ == "__main__":
    main()
