"""Apply merges as the partner's own Git would, and refuses what a checkout of ours would lack."""

from pathlib import Path

import pytest

from cli.whole import lacking_in_folder
from services.executor.stages import review
from services.executor.stages.project_tree import checkout
from shared.clients.git import Entry
from shared.errors import Failure
from tests.executor.merge_world import BRANCH, LINES, NEW, OLD, USER, MergeWorld, make_merge_world
from tests.packages.package_files import packed

SIGNIN = "systems/auth-system/signin.py"
CONFIG = "config/auth-system.toml"
SCHEMA = "prisma/schema/auth-system.prisma"
WINDOWS = LINES.replace("\n", "\r\n")


async def shown(world: MergeWorld, path: str) -> bytes | None:
    return await world.remote.show(await world.head(), path)


async def test_files_saved_on_windows_merge_and_stay_so(tmp_path: Path) -> None:
    """Code, schema and configuration: an edit here, an edit there, and nobody has touched the same line."""
    files = {
        SIGNIN: WINDOWS.replace("one", "ONE"),
        CONFIG: "\ufeffminutes = 45  # ours\r\ncookie = 'a'\r\n",
        SCHEMA: USER.replace("}", "  name String?\n}").replace("\n", "\r\n"),
    }
    world = await make_merge_world(tmp_path, files)
    await world.prepared()
    await world.apply()
    assert await shown(world, SIGNIN) == WINDOWS.replace("one", "ONE").replace("five", "FIVE").encode()
    schema = await shown(world, SCHEMA)
    assert schema is not None
    assert schema.count(b"\r\n") == schema.count(b"\n") == 5
    assert b"name String?" in schema
    config = await shown(world, CONFIG)
    assert config == "\ufeffminutes = 45  # ours\r\ncookie = 'a'\r\ndays = 90\r\n".encode()
    assert b"status String?" in schema


async def test_a_package_from_windows_goes_into_a_repository_that_keeps_lf(tmp_path: Path) -> None:
    """`* text=auto`: the partner's Git has never committed the package's CRLF, and neither do we."""
    old = dict(OLD) | {"files/signin.py": WINDOWS}
    new = dict(NEW) | {"files/signin.py": WINDOWS.replace("five", "FIVE"), "files/new.py": "new\r\n"}
    world = await make_merge_world(tmp_path, {".gitattributes": "* text=auto\n", SIGNIN: LINES})
    await world.publish(packed(old), packed(new))
    await world.prepared()
    facts = await world.apply()
    assert await shown(world, SIGNIN) == LINES.replace("five", "FIVE").encode()
    assert await shown(world, "systems/auth-system/new.py") == b"new\n"
    (change,) = [each for each in facts.files if each.path == SIGNIN]
    assert not change.partner_edited


async def test_what_a_clone_has_and_a_checkout_lacks_is_refused_before_anything_is_done(
    tmp_path: Path,
) -> None:
    """At review, at registration, on the branch of a fix, and by every checkout."""
    world = await make_merge_world(tmp_path)
    head = await world.head("main")
    tree = await world.remote.tree_with(head, {"vendor/rates": Entry("160000", "1" * 40)})
    made = await world.remote.commit(tree, [head], "Submodule", when=1_700_000_100)
    await world.remote.push([("refs/heads/main", made, head)])
    with pytest.raises(Failure) as refused:
        await review.run(world.job("review"), world.review_task(), world.tools)
    (finding,) = refused.value.outcome.findings
    assert (finding.kind, finding.subject) == ("project-file", "vendor/rates")
    assert "git subtree add" in finding.cure
    with pytest.raises(Failure, match="what a clone has"):
        async with checkout(world.remote, made, tmp_path / "scratch"):
            raise AssertionError("it was checked out")

    (refusal,) = await lacking_in_folder(world.remote.folder, "main")
    assert (refusal.field, refusal.cure) == (finding.subject, finding.cure)
    assert await lacking_in_folder(tmp_path, "main") == []


async def test_a_fix_that_brings_a_pointer_of_lfs_is_refused_by_apply(tmp_path: Path) -> None:
    world = await make_merge_world(tmp_path)
    await world.prepared()
    await world.apply()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 84977\n"
    await world.push(BRANCH, {".gitattributes": "*.png filter=lfs\n", "logo.png": pointer})
    with pytest.raises(Failure) as refused:
        await world.apply()
    assert [finding.subject for finding in refused.value.outcome.findings] == ["logo.png"]


async def test_a_package_that_does_not_fit_the_projects_encodings_is_the_maintainers_to_solve(
    tmp_path: Path,
) -> None:
    world = await make_merge_world(tmp_path, {".gitattributes": "*.py working-tree-encoding=UTF-16LE-BOM\n"})
    await world.prepared()
    with pytest.raises(Failure) as refused:
        await world.apply()
    (finding,) = refused.value.outcome.findings
    assert finding.subject == ".gitattributes"
    assert "systems/auth-system/" in finding.detail
