"""`upgradepath.toml` and `version-map.yaml`: what is wrong is told by field, all at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reject
from shared.project_file import read_project_file, read_version_map, write_version_map

ENVIRONMENT = """
database = "secret:acme-{name}-database"
activate = ["python", "hosting/activate.py"]
observe = ["python", "hosting/observe.py"]
health = ["python", "hosting/health.py"]
destroy = ["python", "hosting/destroy.py"]
logs = ["python", "hosting/logs.py"]
variables = {{ ROOT = "secret:acme-hosting", TITLE = "Acme" }}
"""
SOUND = f"""
id = "acme-portal"
name = "Acme customer portal"
[environments.production]
branch = "main"{ENVIRONMENT.format(name="production")}
[environments.staging]{ENVIRONMENT.format(name="staging")}
[staging]
data = "masked-copy"
[checks.validate.unit-tests]
kind = "command"
run = ["python", "-m", "unittest"]
[checks.validate.quiet-log]
kind = "log"
absent = ["Traceback"]
[checks.check-workflows.partner-sign-off]
kind = "sign-off"
question = "Agreed?"
"""
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
VERSIONS = st.builds("{}.{}.{}".format, *[st.integers(0, 99)] * 3)


def refused_fields(text: str) -> list[str | None]:
    with pytest.raises(Reject) as rejected:
        read_project_file(text)
    assert all(refusal.cure for refusal in rejected.value.refusals)
    return [refusal.field for refusal in rejected.value.refusals]


def test_a_sound_file_is_read() -> None:
    definition = read_project_file(SOUND)
    assert definition.environments.production.branch == "main"
    assert set(definition.checks.validate_) == {"unit-tests", "quiet-log"}
    assert read_project_file("# a remark\n" + SOUND) == definition


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('id = "acme-portal"', 'id = "Acme"', "id"),
        ('branch = "main"', 'branch = "--all"', "environments.production.branch"),
        ('branch = "main"', 'banch = "main"', "environments.production.banch"),
        ('"secret:acme-staging-database"', '"postgresql://x"', "environments.staging.database"),
        ('data = "masked-copy"', 'data = "seed"', "staging"),
        ('data = "masked-copy"', 'data = "seed"\nseed = "../x.sql"', "staging.seed"),
        ('run = ["python", "-m", "unittest"]', "run = []", "checks.validate.unit-tests.run"),
        ('kind = "log"', 'kind = "logs"', "checks.validate.quiet-log"),
        ('absent = ["Traceback"]', 'absent = ["("]', "checks.validate.quiet-log.absent.0"),
        ('kind = "sign-off"', 'kind = "command"', "checks.check-workflows.partner-sign-off.run"),
        ('id = "acme-portal"', "id = ", "upgradepath.toml"),
    ],
)
def test_a_mistake_names_its_field(old: str, new: str, field: str) -> None:
    assert field in refused_fields(SOUND.replace(old, new, 1))


def test_every_item_of_a_list_is_told_and_no_more_than_anybody_reads() -> None:
    """A message's list ends at its first fault; who wrote the file had to ask once for each of them."""
    text = SOUND.replace('["Traceback"]', "[1, 2]").replace('"-m"', "3")
    absent = "checks.validate.quiet-log.absent"
    assert refused_fields(text) == ["checks.validate.unit-tests.run.1", f"{absent}.0", f"{absent}.1"]
    many = SOUND.replace('["Traceback"]', str([1] * 1000))
    assert len(refused_fields(many)) == 100


def test_every_mistake_is_told_at_once() -> None:
    text = SOUND.replace('id = "acme-portal"', "").replace('branch = "main"', "banch = 1")
    assert set(refused_fields(text)) == {"id", "environments.production.banch"}


def test_a_system_that_leaves_takes_its_line_and_no_other() -> None:
    """Catches a removal that writes the whole file anew, without its comments and its order."""
    text = "# ours\nquote-engine: 0.9.1  # prices\nauth-system: 1.2.4\n# the end\n"
    left = write_version_map({"auth-system": "1.3.0"}, text.encode())
    assert left == "# ours\nauth-system: 1.3.0\n# the end\n"
    assert write_version_map({}, b"a: 1.0.0") == ""


@given(st.dictionaries(NAMES, VERSIONS))
def test_a_version_map_written_is_read_back_in_its_order(pins: dict[str, str]) -> None:
    assert list(read_version_map(write_version_map(pins)).items()) == list(pins.items())


@pytest.mark.parametrize(
    "line", ["auth-system 1.3.0", "auth-system:1.3.0", "auth-system: 1.3", " a: 1.0.0", "- a"]
)
def test_a_line_that_is_no_pin_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(Reject) as rejected:
        read_version_map(f"quote-engine: 0.9.1\n{line}\n")
    assert [refusal.field for refusal in rejected.value.refusals] == ["version-map.yaml line 2"]


def test_a_system_pinned_twice_is_refused() -> None:
    with pytest.raises(Reject, match="twice"):
        read_version_map("a: 1.0.0\na: 1.0.0\n")


PINS_IN_YAML = {
    "comments": (
        "# ours\n---\nauth-system: 1.2.4 # old\n\nquote-engine: 0.9.1\n",
        "# ours\n---\nauth-system: 1.3.0 # old\n\nquote-engine: 0.9.1\n",
    ),
    "quotes": (
        '"auth-system": \'1.2.4\'\nquote-engine: "0.9.1"',
        '"auth-system": 1.3.0\nquote-engine: "0.9.1"',
    ),
    "flow": ("{auth-system: 1.2.4, quote-engine: 0.9.1}", "{auth-system: 1.3.0, quote-engine: 0.9.1}"),
    "anchors": ("auth-system: &v 1.2.4\nquote-engine: 0.9.1\n", None),
    "blocks": ("auth-system: |-\n  1.2.4\n? quote-engine\n: 0.9.1\n", None),
    "tags": ("auth-system: !!str 1.2.4\nquote-engine: 0.9.1\n...\n", None),
    "windows": (
        "\ufeff# x\r\nauth-system: 1.2.4\r\nquote-engine: 0.9.1\r\n",
        "\ufeff# x\r\nauth-system: 1.3.0\r\nquote-engine: 0.9.1\r\n",
    ),
}


@pytest.mark.parametrize("form", PINS_IN_YAML)
def test_every_form_of_yaml_pins_and_keeps_its_comments(form: str) -> None:
    text, after = PINS_IN_YAML[form]
    assert read_version_map(text) == {"auth-system": "1.2.4", "quote-engine": "0.9.1"}
    pins = {"auth-system": "1.3.0", "quote-engine": "0.9.1"}
    written = write_version_map(pins, text.encode())
    assert read_version_map(written) == pins
    assert after is None or written == after
    more = pins | {"tax-system": "2.0.0"}
    assert read_version_map(write_version_map(more, text.encode())) == more
    less = {"quote-engine": "0.9.1"}
    assert read_version_map(write_version_map(less, text.encode())) == less


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a: 1.0.0\na: 1.0.0\n#",
            "a: 1.10\n#",
            "a: [1.0.0]",
            "- a",
            "a: &x {b: *x}",
            "--- a\n--- b",
            "a: *x",
        ),
        *("<<: {a: 1.0.0}", "[" * 5000, "a: 1.0.0\n" + "#" * (64 << 10), "A: 1.0.0 #"),
    ],
)
def test_yaml_that_pins_nothing_is_refused(text: str) -> None:
    with pytest.raises(Reject):
        read_version_map(text)
