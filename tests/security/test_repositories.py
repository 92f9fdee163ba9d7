"""Which repositories are taken, and when two ways to write one are the same.

Each case would catch a repository by which a Project reaches the worker's own files, programs, network or
credentials, or another Project's commits.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.projects import RegisterProject
from shared.errors import Reject
from shared.repository_urls import BadRepository, RepositoryRules, read_repository, repository_identity
from tests.registry.registry_world import MIRA, PINS, SAM, Registry, project
from tests.support.addresses import EVERY_IPV4, EVERY_IPV6

PUBLIC = RepositoryRules()
LOCAL = RepositoryRules(local=True)
TAKEN = [
    "https://git.example.com/acme/portal.git",
    "https://git.example.com:8443/acme/portal",
    "https://dev.azure.example/acme/My%20Project/_git/portal",
    "ssh://git@git.example.com/acme/portal.git",
    "ssh://git.example.com:2222/acme/portal.git",
    "git@git.example.com:acme/portal.git",
    "git.example.com:acme/portal.git",
    "https://93.184.216.34/acme/portal.git",
    "https://[2606:2800:220:1::1]/acme/portal.git",
]
SECRET = "hunter2"
WITH_SECRETS = [
    f"https://mallory:{SECRET}@git.example.com/x.git",
    f"https://{SECRET}@git.example.com/x.git",
    f"https://:{SECRET}@git.example.com/x.git",
    f"HTTPS://mallory:{SECRET}@git.example.com/x.git",
    f"ssh://git:{SECRET}@git.example.com/x.git",
    f"https://git.example.com/x.git?access_token={SECRET}",
    f"https://git.example.com/x.git?private_token={SECRET}",
    f"https://git.example.com/x.git#{SECRET}",
    f"https://mallory%3A{SECRET}@git.example.com/x.git",
    f"https://mallory:{SECRET}%40git.example.com@git.example.com/x.git",
    f"http://mallory:{SECRET}@git.example.com/x.git",
    f"file://mallory:{SECRET}@git.example.com/x.git",
    f"git://mallory:{SECRET}@git.example.com/x.git",
    f"https://mallory:{SECRET}@[::1]/x.git",
    f"https://mallory:{SECRET}@git.example.com:port/x.git",
    f"mallory:{SECRET}@git.example.com:x.git",
]
NEVER = [
    "",
    " ",
    "-",
    "--upload-pack=touch /tmp/x",
    "-oProxyCommand=id",
    "ext::sh -c id",
    "ext::sh -c id\n",
    "fd::17",
    "foo::bar",
    "::x",
    "https::http://169.254.169.254/",
    "https://git.example.com/x.git\n",
    "https://git.example.com/x\r\nHost: y",
    "https://git.example.com/x.git\0",
    "https://git.example.com/\u202egit.x",
    "https://git.example.com/\u200bx.git",
    " https://git.example.com/x.git",
    "https://git.example.com/a%00b",
    "https://git.example.com/a%0ab",
    "https://git.example.com/%2e%2e/%2e%2e/etc",
    "https://git.example.com/../x.git",
    "https://git.example.com/a%252e",
    "https://git.example.com/a\\b",
    "https://git.example.com/",
    "https://git.example.com",
    "https:///x.git",
    "https://git..example.com/x.git",
    "https://git.exam ple.com/x.git",
    "https://g\u0456t.example.com/x.git",
    "https://git.example.com:99999/x.git",
    "ssh://-oProxyCommand=id/x.git",
    "ssh://-oProxyCommand=id@git.example.com/x.git",
    "-oProxyCommand=id@git.example.com:x.git",
    "git@-oProxyCommand=id:x.git",
    "http://git.example.com/x.git",
    "git://git.example.com/x.git",
    "ftp://git.example.com/x.git",
    "git+ssh://git@git.example.com/x.git",
    "javascript://x/y",
    "./portal.git",
    "portal.git",
    "~/portal.git",
    "file://git.example.com/x.git",
    "https://" + "a" * 1000 + "/x.git",
]
INSIDE = [
    "/srv/git/bolt.git",
    "file:///srv/git/bolt.git",
    "file://localhost/srv/git/bolt.git",
    "https://localhost/x.git",
    "https://LOCALHOST./x.git",
    "https://worker.localhost/x.git",
    "https://127.0.0.1/x.git",
    "https://127.1/x.git",
    "https://2130706433/x.git",
    "https://0x7f000001/x.git",
    "https://0177.0.0.1/x.git",
    "https://[::1]/x.git",
    "https://[::ffff:127.0.0.1]/x.git",
    "git@127.0.0.1:x.git",
    "git@[::1]:x.git",
]
METADATA = [
    "https://169.254.169.254/x.git",
    "https://2852039166/x.git",
    "https://[fe80::1]/x.git",
    "https://[fd00:ec2::254]/x.git",
    "https://[::ffff:169.254.169.254]/x.git",
    f"https://{EVERY_IPV4}/x.git",
    f"https://[{EVERY_IPV6}]/x.git",
    "https://224.0.0.1/x.git",
]
PRIVATE = [
    "https://10.0.0.5/x.git",
    "https://192.168.1.1/x.git",
    "git@172.16.0.1:x.git",
    "file:x",
    "https://git/x.git",
]


@pytest.mark.parametrize("text", TAKEN)
def test_public_repositories_are_taken(text: str) -> None:
    assert read_repository(text, PUBLIC).path


@pytest.mark.parametrize("rules", [PUBLIC, LOCAL], ids=["public", "dev"])
@pytest.mark.parametrize("text", [*NEVER, *WITH_SECRETS, *METADATA])
def test_what_is_never_taken(text: str, rules: RepositoryRules) -> None:
    with pytest.raises(BadRepository) as caught:
        read_repository(text, rules)
    assert caught.value.cure
    assert SECRET not in f"{caught.value} {caught.value.cure}"


@pytest.mark.parametrize("text", [*INSIDE, *PRIVATE])
def test_the_workers_own_machine_is_never_reached(text: str) -> None:
    with pytest.raises(BadRepository):
        read_repository(text, PUBLIC)


@pytest.mark.parametrize("text", INSIDE)
def test_a_world_on_one_machine_takes_its_own(text: str) -> None:
    assert read_repository(text, LOCAL).path


def test_only_hosts_that_the_operator_names_are_taken() -> None:
    rules = RepositoryRules(hosts=("git.example.com", "10.0.0.5", "127.0.0.1", "169.254.169.254"))
    assert read_repository("https://GIT.example.com/x", rules)
    assert read_repository("https://10.0.0.5/x", rules)
    for text in ("https://example.com/x", "https://git.example.com.evil.example/x", "git@other.example:x"):
        with pytest.raises(BadRepository, match="not taken here"):
            read_repository(text, rules)
    for text in ("https://127.0.0.1/x", "https://169.254.169.254/x"):
        with pytest.raises(BadRepository, match="own machine or network"):
            read_repository(text, rules)


@given(st.text(max_size=60) | st.text("htps:/@[].%-git~ \\#?0x", max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        found = read_repository(text, LOCAL)
    except BadRepository:
        return
    assert found.identity == found.identity.strip()


SAME = [
    "https://git.example.com/acme/portal",
    "https://GIT.Example.COM/acme/portal.git",
    "https://git.example.com./acme/portal.git/",
    "https://git.example.com:443/acme/portal.git",
    "https://git.example.com:8443/acme/portal.git",
    "https://git.example.com//acme///portal.git",
    "https://git.example.com/./acme/portal.git",
    "https://git.example.com/acme/por%74al.git",
    "https://git.example.com/acme/portal%2egit",
    "https://git.example.com/Acme/Portal.GIT",
    "https://git.example.com/acme/portal.git.git",
    "https://www.git.example.com/acme/portal.git",
    "https://ssh.git.example.com/acme/portal.git",
    "ssh://git@git.example.com/acme/portal.git",
    "ssh://git.example.com:22/acme/portal.git",
    "ssh://somebody@git.example.com:2222/acme/portal.git",
    "git@git.example.com:acme/portal.git",
    "git@git.example.com:/acme/portal.git",
    "git.example.com:acme/portal",
]


@pytest.mark.parametrize("text", SAME)
def test_ways_to_write_one_repository_are_the_same(text: str) -> None:
    assert repository_identity(text) == "git.example.com/acme/portal"


FORGES: dict[str, list[str]] = {
    "dev.azure.com/acme/shop/portal": [
        "https://dev.azure.com/acme/shop/_git/portal",
        "https://DEV.azure.com:443/Acme/Shop/_git/Portal/",
        "https://dev.azure.com/acme/shop/_git/_full/portal",
        "https://dev.azure.com/acme/shop/_git/_optimized/portal",
        "git@ssh.dev.azure.com:v3/acme/shop/portal",
        "ssh://git@ssh.dev.azure.com/v3/acme/shop/portal",
        "ssh://git@ssh.dev.azure.com:22/v3/acme/shop/portal",
        "https://acme.visualstudio.com/shop/_git/portal",
        "https://acme.visualstudio.com/DefaultCollection/shop/_git/portal",
        "acme@vs-ssh.visualstudio.com:v3/acme/shop/portal",
        "ssh://acme@acme.visualstudio.com:22/shop/_ssh/portal",
    ],
    "dev.azure.com/acme/portal/portal": [
        "https://dev.azure.com/acme/_git/portal",
        "https://dev.azure.com/acme/portal/_git/portal",
        "git@ssh.dev.azure.com:v3/acme/portal/portal",
        "https://acme.visualstudio.com/_git/portal",
    ],
    "tfs.example.com/collection/shop/portal": [
        "https://tfs.example.com/tfs/Collection/Shop/_git/Portal",
        "ssh://tfs.example.com:22/Collection/Shop/_ssh/Portal",
        "ssh://tfs.example.com:22/tfs/Collection/Shop/_git/Portal",
    ],
    "stash.example.com/shop/portal": [
        "https://stash.example.com/scm/SHOP/portal.git",
        "https://stash.example.com/bitbucket/scm/shop/portal",
        "ssh://git@stash.example.com:7999/SHOP/portal.git",
        "git@stash.example.com:shop/portal.git",
    ],
    "stash.example.com/~mira/portal": [
        "https://stash.example.com/scm/~mira/portal.git",
        "https://stash.example.com/scm/%7Emira/portal.git",
        "https://stash.example.com/scm/%7emira/portal.git/",
        "ssh://git@stash.example.com:7999/~mira/portal.git",
        "git@stash.example.com:~mira/portal",
    ],
    "github.com/acme/portal": [
        "https://github.com/acme/portal",
        "https://www.github.com/Acme/Portal.git",
        "git@github.com:acme/portal.git",
        "ssh://git@ssh.github.com:443/acme/portal.git",
        "ssh://git@github.com/acme/portal/",
    ],
    "gitlab.com/scm/tools/portal": [
        "https://gitlab.com/scm/tools/portal.git",
        "ssh://git@altssh.gitlab.com:443/scm/tools/portal.git",
    ],
    "bitbucket.org/acme/portal": [
        "https://bitbucket.org/acme/portal.git",
        "ssh://git@altssh.bitbucket.org:443/acme/portal.git",
    ],
    "review.example.com/acme/portal": [
        "https://review.example.com/a/acme/portal",
        "https://review.example.com/r/a/acme/portal",
        "ssh://mira@review.example.com:29418/acme/portal",
    ],
    "plain.example.com/acme/portal": [
        "git@plain.example.com:acme/portal.git",
        "ssh://git@plain.example.com/~/acme/portal.git",
        "ssh://git@plain.example.com/~git/acme/portal.git",
        "ssh://git@plain.example.com/home/git/acme/portal.git",
        "https://plain.example.com/git/acme/portal.git",
    ],
    "2001:4860:4860::8888/acme/portal": [
        "https://[2001:4860:4860::8888]/acme/portal",
        "https://[2001:4860:4860:0:0:0:0:8888]:8443/acme/portal.git",
        "git@[2001:4860:4860::8888]:acme/portal.git",
        "ssh://git@[2001:4860:4860:0000::8888]:22/acme/portal",
    ],
    "xn--bcher-kva.example/acme/portal": [
        "https://xn--bcher-kva.example/acme/portal",
        "https://XN--BCHER-KVA.example./acme/portal.git",
    ],
}


@pytest.mark.parametrize(
    ("identity", "text"), [(identity, text) for identity, texts in FORGES.items() for text in texts]
)
def test_each_forges_ways_to_write_one_repository_are_the_same(identity: str, text: str) -> None:
    assert repository_identity(text) == identity


@pytest.mark.parametrize(
    "text", ["https://bücher.example/a/b", "https://example。com/a/b", "https://ＧＩＴ.example/a/b"]
)
def test_a_host_is_written_in_ascii(text: str) -> None:
    """Else one name has as many spellings as there are alphabets that look alike."""
    assert repository_identity(text) is None


def test_different_repositories_are_told_apart() -> None:
    """And those of one forge's known folders, where they are names."""
    texts = [
        *(texts[0] for texts in FORGES.values()),
        "https://github.com/git/git",
        "https://github.com/a/git",
        "https://github.com/r/git",
        "https://gitlab.com/tools/portal",
        "https://dev.azure.com/acme/shop/_git/other",
        "https://dev.azure.com/other/shop/_git/portal",
    ]
    assert len({repository_identity(text) for text in texts}) == len(texts)


_NAMES = st.text("abcxyz019-", min_size=1, max_size=8).filter(lambda name: name.strip("-") == name)


@given(
    st.sampled_from(["git.example.com", "github.com", "code.acme.example"]),
    st.lists(_NAMES, min_size=2, max_size=3),
    st.data(),
)
def test_no_spelling_of_a_repository_is_anothers(host: str, names: list[str], data: st.DataObject) -> None:
    """Whatever capitals, ports, users, doors, ends and escapes are drawn."""
    draw = data.draw

    def escaped(name: str) -> str:
        at = draw(st.integers(0, len(name) - 1))
        return f"{name[:at]}%{ord(name[at]):02{draw(st.sampled_from('xX'))}}{name[at + 1 :]}"

    ways: list[Callable[[str], str]] = [str, str.upper, escaped]
    written = "/".join(draw(st.sampled_from(ways))(name) for name in names)
    end = draw(st.sampled_from(["", ".git", "/", ".git/", ".GIT", "//"]))
    door = draw(st.sampled_from(["", "www.", "ssh."]))
    where = door + draw(st.sampled_from([host, host.upper(), f"{host}."]))
    forms = ["https://{w}/{p}", "https://{w}:443/{p}", "ssh://git@{w}/{p}", "ssh://git@{w}:22//{p}"]
    form = draw(st.sampled_from([*forms, "git@{w}:{p}"]))
    text = form.format(w=where, p=written + end)
    plain = repository_identity(f"https://{host}/{'/'.join(names)}")
    assert plain is not None
    assert repository_identity(text) == plain


def test_links_and_dots_lead_to_one_folder(tmp_path: Any) -> None:
    real = tmp_path / "bolt.git"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    ways = [
        real,
        tmp_path / "link",
        f"{tmp_path}/x/../bolt.git",
        f"file://{real}",
        f"{real}/",
        tmp_path / "bolt",
    ]
    assert len({repository_identity(str(way)) for way in ways}) == 1


# --- at the registry -----------------------------------------------------------------------------


@pytest.fixture
async def acme(registry: Registry) -> Registry:
    """acme-portal has its repository."""
    await registry.publish()
    await registry.register(project(repository="https://git.example.com/acme/portal.git"))
    await registry.sent()
    return registry


@pytest.mark.parametrize("text", SAME)
async def test_a_repository_belongs_to_one_project(acme: Registry, text: str) -> None:
    with pytest.raises(Reject) as caught:
        await acme.register(project("mallory-portal", repository=text))
    (refusal,) = caught.value.refusals
    assert (refusal.kind, refusal.field, refusal.value) == ("conflict", "project.repository", None)
    assert "acme-portal" not in str(caught.value) + refusal.cure, "it says whose it is"
    assert await acme.sent() == []


async def test_a_repository_that_was_left_can_be_taken(acme: Registry) -> None:
    await acme.register(project(repository="https://git.example.com/acme/moved.git"))
    taken = project("other-portal", repository="https://git.example.com/acme/portal.git")
    assert (await acme.register(taken)).project == taken


@pytest.mark.parametrize("text", WITH_SECRETS)
async def test_a_refusal_never_repeats_a_password(registry: Registry, text: str) -> None:
    await registry.publish()
    command = RegisterProject(actor=MIRA, project=project(repository=text), pins=PINS)
    with pytest.raises(Reject) as caught:
        await registry.ask(command)
    assert "hunter2" not in repr([refusal.model_dump() for refusal in caught.value.refusals])


STOLEN = "secret:bolt-production-database"


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("environments.staging.variables.STOLEN", {"staging": {"variables": {"STOLEN": STOLEN}}}),
        ("environments.production.variables.STOLEN", {"production": {"variables": {"STOLEN": STOLEN}}}),
        ("environments.staging.database", {"staging": {"database": STOLEN}}),
        ("environments.production.database", {"production": {"database": STOLEN}}),
        (
            "environments.staging.variables.OWN",
            {"staging": {"variables": {"OWN": "secret:acme-portal-production"}}},
        ),
    ],
)
async def test_names_that_read_as_anothers_or_productions_are_refused(
    registry: Registry, place: str, changes: dict[str, dict[str, Any]]
) -> None:
    await registry.publish()
    made = project()
    environments = made.definition.environments.model_dump()
    for name, changed in changes.items():
        environments[name] |= changed
    definition = made.definition.model_dump(mode="json") | {"environments": environments}
    with pytest.raises(Reject) as caught:
        await registry.ask(RegisterProject(actor=SAM, project=project(definition=definition), pins=PINS))
    assert f"project.definition.{place}" in [refusal.field for refusal in caught.value.refusals]
