"""The same refusal for fifty things is one refusal with fifty names."""

import pytest

from services.executor.clients.mask_file import read_masks
from shared.contracts.folding import folded_places
from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.packages.package import read_package
from tests.registry.registry_world import files, pack

FIFTY = range(50)
PACKAGES = {
    "strangers": {f"other/a{n}.py": "x" for n in FIFTY},
    "names": {f"files/a{n}:b.py": "x" for n in FIFTY},
    "migrations": {f"prisma/migrations/bad name{n}/migration.sql": "select 1;" for n in FIFTY},
    "ends": {f"files/con{n}./aux.py": "x" for n in FIFTY},
}
MANIFESTS = {
    "ranges": "[requires]\n" + "".join(f'sys-{n} = "not a range"\n' for n in FIFTY),
    "keys": "".join(f"key{n} = 1\n" for n in FIFTY),
    "contract": f"[migrations]\ncontract = {[f'x{n}' for n in FIFTY]}\n",
}


@pytest.mark.parametrize("kind", [*PACKAGES, *MANIFESTS])
def test_a_packages_fifty_like_faults_are_one_refusal(kind: str) -> None:
    """Catches a page of refusals in which nobody finds the one that differs."""
    contents = files(changed=PACKAGES.get(kind), manifest=MANIFESTS.get(kind, ""))
    with pytest.raises(Reject) as caught:
        read_package(pack(contents))
    (refusal,) = caught.value.refusals
    assert sum(f"{n}" in refusal.reason for n in FIFTY) == 50
    assert refusal.cure


def test_a_mask_files_fifty_like_faults_are_one_refusal() -> None:
    with pytest.raises(Reject) as caught:
        read_masks("[User]\n" + "".join(f'f{n} = "nonsense"\n' for n in FIFTY))
    (refusal,) = caught.value.refusals
    assert all(f"User.f{n}" in refusal.reason for n in FIFTY)


def test_few_and_unlike_faults_are_said_one_by_one() -> None:
    """Catches a place that is lost, and a fault that disappears behind others of its kind."""
    few = [Refusal(kind="invalid", reason="no", field=f"a{n}", cure="mend it") for n in range(3)]
    other = Refusal(kind="invalid", reason="too long", field="b", cure="mend it")
    assert folded_places([*few, other]) == (*few, other)
    lines = [
        Refusal(kind="invalid", reason=f"line {n}: no", field=f"x/{n}", value="v", cure=f"mend x/{n}")
        for n in range(4)
    ]
    (told,) = folded_places(lines)
    assert told.reason == "no: x/0 (line 0), x/1 (line 1), x/2 (line 2), x/3 (line 3)"
    assert (told.field, told.value, told.cure) == ("x", None, "mend each of them")
