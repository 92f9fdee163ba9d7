"""An exported audit log: whatever is done to the file is found, offline, and the entry is named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from shared.audit.chain import is_signed, sealed, signed_head
from shared.audit.exported import ExportedLog, Known, Verdict, lines_of, verify
from shared.contracts.audit import NO_ENTRY, AuditHead
from shared.contracts.values import canonical_digest, canonical_json
from shared.identity.proofs import Signer
from tests.support.proofs import PROOFS, signer

MANIPULATIONS = 10_000
AT = "2026-03-01T12:00:00+00:00"


def entries(log: str, count: int, *, word: str = "approve") -> list[dict[str, Any]]:
    """A chain as it is exported."""
    notes = [
        {"at": AT, "who": f"p{n}@acme.example", "what": word, "details": [], "verdict": "accepted", "n": n}
        for n in range(count)
    ]
    return [{"entry": json.loads(one.text), "hash": one.hash} for one in sealed(notes, log, 0, NO_ENTRY)]


def exported(
    logs: Mapping[str, Sequence[dict[str, Any]]], signing: Callable[[str], Signer] = signer
) -> list[bytes]:
    """The lines of a file with these chains, whole and signed."""
    places: dict[str, tuple[ExportedLog, Sequence[dict[str, Any]]]] = {}
    for log, chain in logs.items():
        seq, digest = (chain[-1]["entry"]["seq"], chain[-1]["hash"]) if chain else (0, NO_ENTRY)
        head = signed_head(signing(log), seq, digest, AT)
        places[log] = (ExportedLog(first=1, previous=NO_ENTRY, head=head), chain)
    return [f"{line}\n".encode() for line in lines_of(places)]


LOGS = {"planner": entries("planner", 6), "registry": entries("registry", 3), "validator": []}
WHOLE = exported(LOGS)
OTHER = exported({"planner": entries("planner", 6, word="reject"), "executor": entries("executor", 3)})
KNOWN = Known(keys=PROOFS, logs=tuple(LOGS))


def rehashed(lines: Sequence[bytes], at: int) -> list[bytes]:
    """The entries from this line on with new hashes, as an outsider would write them who has no key."""
    found = list(lines[:at])
    before: dict[str, str] = {}
    for line in lines[1:at]:
        document = json.loads(line)
        before[document["entry"]["log"]] = document["hash"]
    for line in lines[at:]:
        entry = json.loads(line)["entry"]
        entry["previous"] = before.get(entry["log"], NO_ENTRY)
        before[entry["log"]] = digest = canonical_digest(entry)
        found.append(f"{canonical_json({'entry': entry, 'hash': digest})}\n".encode())
    header = json.loads(found[0])
    for log in header["logs"]:
        log["head"]["hash"] = before.get(log["head"]["log"], log["head"]["hash"])
        log["head"]["seq"] = sum(json.loads(line)["entry"]["log"] == log["head"]["log"] for line in found[1:])
    found[0] = f"{canonical_json(header)}\n".encode()
    return found


def byte_flipped(lines: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(lines))
    line = bytearray(lines[at])
    place = chance.randrange(len(line))
    line[place] ^= chance.randrange(1, 256)
    return [*lines[:at], bytes(line), *lines[at + 1 :]]


def byte_added_or_gone(lines: list[bytes], chance: random.Random) -> list[bytes]:
    whole = bytearray(b"".join(lines))
    place = chance.randrange(len(whole))
    if chance.random() < 0.5:
        del whole[place]
    else:
        whole.insert(place, chance.choice(b" \t\r\n0aA{}[],"))
    return bytes(whole).splitlines(keepends=True)


def field_edited(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """Of the header or an entry, still canonical; half of them with all hashes made anew behind it."""
    at = chance.randrange(len(lines))
    document = json.loads(lines[at])
    inner = document["entry"] if at else chance.choice([log["head"] for log in document["logs"]])
    name = chance.choice(sorted(inner))
    value = inner[name]
    inner[name] = value + 1 if isinstance(value, int) else f"{value}0" if isinstance(value, str) else ["x"]
    edited = [*lines[:at], f"{canonical_json(document)}\n".encode(), *lines[at + 1 :]]
    can_rehash = at and name not in ("seq", "log")
    return rehashed(edited, at) if can_rehash and chance.random() < 0.5 else edited


def entry_gone(lines: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(lines))
    return [*lines[:at], *lines[at + 1 :]]


def entry_twice(lines: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(lines))
    where = chance.randrange(len(lines) + 1)
    return [*lines[:where], lines[at], *lines[where:]]


def swapped(lines: list[bytes], chance: random.Random) -> list[bytes]:
    one, other = chance.sample(range(len(lines)), 2)
    found = list(lines)
    found[one], found[other] = found[other], found[one]
    return found


def shuffled(lines: list[bytes], chance: random.Random) -> list[bytes]:
    rest = lines[1:]
    while rest == lines[1:]:
        chance.shuffle(rest)
    return [lines[0], *rest]


def beginning_cut(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """With a header that says the log began later."""
    count = chance.randrange(1, 6)
    header = json.loads(lines[0])
    header["logs"][0] |= {"first": count + 1, "previous": json.loads(lines[count])["hash"]}
    return [f"{canonical_json(header)}\n".encode(), *lines[count + 1 :]]


def end_cut(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """Plainly, or with a header whose head is that of the last entry which is left."""
    left = lines[: chance.randrange(1, len(lines))]
    return left if chance.random() < 0.5 else rehashed(left, len(left))


def log_gone(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """With all its entries and its place in the header; or emptied."""
    header = json.loads(lines[0])
    gone = chance.choice(["planner", "registry"])
    if chance.random() < 0.5:
        header["logs"] = [log for log in header["logs"] if log["head"]["log"] != gone]
    else:
        for log in header["logs"]:
            if log["head"]["log"] == gone:
                log["head"] |= {"seq": 0, "hash": NO_ENTRY}
    kept = [line for line in lines[1:] if json.loads(line)["entry"]["log"] != gone]
    return [f"{canonical_json(header)}\n".encode(), *kept]


def spliced(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """Entries of another service, or of another history of the same one, in its place or between."""
    at, where = chance.randrange(len(OTHER)), chance.randrange(len(lines))
    return [*lines[:where], OTHER[at], *lines[where + chance.randrange(2) :]]


def exchanged(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """The head of another file of the same service under this one's entries, or the other way."""
    header, other = json.loads(lines[0]), json.loads(OTHER[0])
    header["logs"][0] = other["logs"][chance.randrange(2)]
    return [f"{canonical_json(header)}\n".encode(), *lines[1:]]


KINDS: tuple[Callable[[list[bytes], random.Random], list[bytes]], ...] = (
    *(byte_flipped, byte_added_or_gone, field_edited, entry_gone, entry_twice, swapped, shuffled),
    *(beginning_cut, end_cut, log_gone, spliced, exchanged),
)


def verdict(lines: Sequence[bytes], known: Known = KNOWN) -> Verdict:
    return verify(lines, known)


def test_what_was_exported_is_whole() -> None:
    """Catches a verifier that finds faults in everything, which would find all manipulations, too."""
    found = verdict(WHOLE)
    assert (found.faults, found.unproven) == ([], ())
    assert found.entries == {"planner": 6, "registry": 3, "validator": 0}


def test_ten_thousand_random_manipulations_are_found() -> None:
    """Catches any way to change a file unseen: each kind is tried hundreds of times, at random places."""
    chance = random.Random(14)
    unseen = []
    for number in range(MANIPULATIONS):
        kind = KINDS[number % len(KINDS)]
        changed = kind(list(WHOLE), chance)
        if b"".join(changed) != b"".join(WHOLE) and not verdict(changed).faults:
            unseen.append((number, kind.__name__))
    assert unseen == []


@pytest.mark.parametrize(
    ("change", "kind", "seq"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b"p2@", b"px@"), *lines[4:]], "edited", 3),
        (lambda lines: [*lines[:3], *lines[4:]], "missing", 3),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "reordered", 3),
        (lambda lines: [*lines[:6], *lines[7:]], "cut", 6),
        (lambda lines: lines[:-1], "cut", 3),
        (lambda lines: [*lines[:3], OTHER[-1], *lines[3:]], "foreign", 3),
        (
            lambda lines: rehashed([*lines[:2], lines[2].replace(b"p1@", b"px@"), *lines[3:]], 2),
            "unsigned",
            6,
        ),
    ],
    ids=["edited", "deleted", "reordered", "cut-in-the-middle", "cut-at-the-end", "spliced", "re-hashed"],
)
def test_the_verdict_names_the_entry(change: Any, kind: str, seq: int) -> None:
    """Catches a verdict that says that something is wrong, and not what and where."""
    assert (kind, seq) in [(fault.kind, fault.seq) for fault in verdict(change(list(WHOLE))).faults]


def older() -> list[bytes]:
    """What the service itself signed when it had fewer entries."""
    return exported({**LOGS, "planner": LOGS["planner"][:4]})


@pytest.mark.parametrize("known", ["head", "hash"])
def test_an_end_that_the_service_signed_itself_is_found_against_a_published_head(known: str) -> None:
    """Catches the one cut that no file alone can show: back to what was whole some time ago."""
    chain = LOGS["planner"]
    head = signed_head(signer("planner"), 6, chain[-1]["hash"], AT)
    assert is_signed(head, PROOFS)
    assert verdict(older()).faults == []
    more = {"heads": (head,)} if known == "head" else {"hashes": (head.hash,)}
    against = Known(keys=PROOFS, logs=tuple(LOGS), **more)
    assert [fault.kind for fault in verdict(older(), against).faults] == ["cut"]
    assert verdict(WHOLE, against).faults == []


def test_without_a_key_or_a_head_nothing_is_called_proven() -> None:
    """Catches a chain that anybody made being called true because it fits together."""
    forged = rehashed([WHOLE[0], WHOLE[1].replace(b"p0@", b"px@"), *WHOLE[2:]], 1)
    found = verdict(forged, Known(logs=tuple(LOGS)))
    assert found.faults == []
    assert set(found.unproven) == set(LOGS)
    hashes = tuple(json.loads(line)["hash"] for line in (WHOLE[6], WHOLE[9]))
    found = verdict(forged, Known(logs=tuple(LOGS), hashes=hashes))
    assert {fault.kind for fault in found.faults} == {"cut"}


def test_a_service_cannot_sign_for_another() -> None:
    """Catches a verifier that takes any service's key for any log."""
    forged = exported(LOGS, lambda log: Signer(log, signer("validator").key))
    kinds = [(fault.log, fault.kind) for fault in verdict(forged).faults]
    assert kinds == [("planner", "unsigned"), ("registry", "unsigned")]


def test_a_range_is_whole_only_for_who_expects_one() -> None:
    """Catches a beginning that was cut off and passes for a part that somebody asked for."""
    chain = LOGS["planner"]
    head = signed_head(signer("planner"), 6, chain[-1]["hash"], AT)
    place = ExportedLog(first=4, previous=chain[2]["hash"], head=head)
    lines = [f"{line}\n".encode() for line in lines_of({"planner": (place, chain[3:])})]
    assert verdict(lines, Known(keys=PROOFS, logs=("planner",), ranges=True)).faults == []
    assert [fault.kind for fault in verdict(lines, Known(keys=PROOFS, logs=("planner",))).faults] == ["cut"]


@pytest.mark.parametrize("junk", [[], [b"\n"], [b"{}\n"], [b"\xff\n"], [b"[" * 100_000 + b"\n"], [b"null\n"]])
def test_what_is_no_export_is_a_fault_and_no_error(junk: list[bytes]) -> None:
    """Catches a verifier that breaks on bytes that somebody chose."""
    assert verdict(junk).faults
    assert verdict([WHOLE[0], *junk, *WHOLE[1:]]).faults if junk else True


def test_a_published_head_is_an_audit_head() -> None:
    """Catches a head whose signature covers less than it says."""
    head = signed_head(signer("planner"), 6, LOGS["planner"][-1]["hash"], AT)
    changes: list[dict[str, Any]] = [{"seq": 7}, {"hash": "0" * 64}, {"at": AT + "0"}, {"log": "registry"}]
    assert not any(is_signed(AuditHead.model_validate(head.model_dump() | one), PROOFS) for one in changes)
