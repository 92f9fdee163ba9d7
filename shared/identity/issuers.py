"""OIDC issuers: whom each may speak for, and how its groups become a role and Projects.

A token's `iss` chooses its issuer, and that issuer's keys alone prove it. An issuer may speak for the roles
and Projects that its settings name, whatever its tokens say, and its people have ids of their own.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from shared.contracts.values import Actor, ProjectId
from shared.identity.claims import AUDIENCE, PROJECTS_MAX, InvalidToken

Role = Literal["library", "maintainer", "sre"]
PROJECT = "<project>"
"""Stands in a group's pattern for a Project's id."""
GROUPS_MAX = 1000
VALID_AT_MOST_H = 31 * 24.0
_PROJECT_ID: TypeAdapter[str] = TypeAdapter(ProjectId)
_MEMBER = Annotated[str, Field(min_length=1, max_length=200)]
_ALLOWED_PROJECT = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9-]{0,62}\*?)$")]


class GroupRule(BaseModel):
    """What one group, or each group of one pattern, makes of a person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: _MEMBER
    """`upgradepath-sre`, or with `<project>` in it `upgradepath-maintainers-<project>`."""
    role: Role
    projects: tuple[ProjectId, ...] = ()
    """For a group without `<project>`: a maintainer's Projects."""

    @model_validator(mode="after")
    def _names_projects_once(self) -> Self:
        names = self.group.count(PROJECT)
        if names > 1 or (names and (self.projects or self.role != "maintainer")):
            raise ValueError(f"{PROJECT} stands once in a maintainers' group, without `projects`")
        if self.role == "maintainer" and not names and not self.projects:
            raise ValueError(
                f"say which Projects they maintain: `projects`, or {PROJECT} in the group's name"
            )
        return self

    def projects_of(self, groups: frozenset[str]) -> tuple[str, ...] | None:
        """The Projects that these groups name by this rule; None when none of them is meant."""
        before, pattern, after = self.group.partition(PROJECT)
        if not pattern:
            return self.projects if self.group in groups else None
        return tuple(sorted(_between(groups, before, after))) or None


class IssuerSettings(BaseModel):
    """One issuer, as the file of `UPGRADES_TOKEN_ISSUERS` describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    """In /health and metrics, and before its people's ids unless it has a `domain`."""
    issuer: str = Field(pattern=r"^https?://[^\s?#@]{1,400}$")
    """As it stands in `iss`, to the last slash."""
    audience: tuple[_MEMBER, ...] = Field(default=(AUDIENCE,), min_length=1)
    keys: str | None = None
    """A JWK Set's file or URL; without it the issuer's discovery document names the URL."""
    key_hosts: tuple[str, ...] = ()
    """Besides the issuer's own host, where its discovery document may say that the keys are."""
    ca_file: str | None = None
    keys_kept_h: float = Field(default=24.0, gt=0, le=72)
    valid_at_most_h: float = Field(default=VALID_AT_MOST_H, gt=0, le=VALID_AT_MOST_H)
    subject: Literal["sub", "email", "preferred_username"] = "sub"
    domain: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{0,100}$")
    """Its people are `…@domain` and keep that as their id; others are refused."""
    groups: _MEMBER | Annotated[tuple[_MEMBER, ...], Field(min_length=1)] = "groups"
    """The claim with the groups, or the way to it: ["realm_access", "roles"]."""
    own_claims: bool = False
    """Its tokens' `role` and `projects` count, within `roles` and `projects`."""
    clients: tuple[_MEMBER, ...] = ()
    """Where some are named, `azp` or `client_id` must be one of them."""
    roles: tuple[Role, ...] = Field(default=("maintainer",), min_length=1)
    projects: tuple[_ALLOWED_PROJECT, ...] = ()
    """Whom it may speak for: ids, `acme-*`, or `*` for each."""
    rules: tuple[GroupRule, ...] = ()

    @model_validator(mode="after")
    def _speaks_for_somebody(self) -> Self:
        if "maintainer" in self.roles and not self.projects:
            raise ValueError('say which Projects it may speak for: projects = ["acme-*"]; ["*"] for each')
        if not self.rules and not self.own_claims:
            raise ValueError("say which of its groups mean what: [[issuers.rules]]; or set own_claims = true")
        for rule in self.rules:
            if rule.role not in self.roles:
                raise ValueError(f"the group {rule.group!a} means {rule.role}, which is not among `roles`")
            beyond = [project for project in rule.projects if not self.may_speak_for(project)]
            if beyond:
                raise ValueError(f"the group {rule.group!a} names {beyond[0]}, which is not among `projects`")
        if self.domain is not None and self.subject == "sub":
            raise ValueError('`domain` needs subject = "email" or "preferred_username"')
        return self

    def may_speak_for(self, project: str) -> bool:
        return any(
            project.startswith(allowed[:-1]) if allowed.endswith("*") else project == allowed
            for allowed in self.projects
        )


class IssuerFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuers: tuple[IssuerSettings, ...] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _nobody_is_two(self) -> Self:
        for what in ("name", "issuer", "domain"):
            given = [value for each in self.issuers if (value := getattr(each, what)) is not None]
            twice = next((value for value in given if given.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two issuers have the {what} {twice}: their people would be the same ones")
        return self


@dataclass(frozen=True)
class IssuedClaims:
    """The proven claims of one issuer's token."""

    issuer: IssuerSettings
    claims: Mapping[str, Any]

    def actor(self) -> Actor:
        """Who they are to us. Raises `InvalidToken` with what is missing."""
        if self.claims.get("iat") is None:
            raise InvalidToken("the token has no `iat`: nobody could tell that it is older than a revocation")
        if "events" in self.claims:
            raise InvalidToken("this is a security event and not somebody's token")
        self._require_client()
        role, projects = self._authority()
        try:
            return Actor(id=self._id(), role=role, projects=projects)
        except ValidationError as error:
            raise InvalidToken("the token's subject has more characters than the 200 of an id") from error

    def _require_client(self) -> None:
        client = self.claims.get("azp", self.claims.get("client_id"))
        if self.issuer.clients and client not in self.issuer.clients:
            raise InvalidToken(
                "the token was issued to another client: `azp` must be one of the issuer's `clients`"
            )

    def _id(self) -> str:
        name, domain = self.issuer.subject, self.issuer.domain
        value = self.claims.get(name)
        if not isinstance(value, str) or not value.isprintable() or not value or value != value.strip():
            raise InvalidToken(f"the token's `{name}` is not a name in printable characters")
        if name == "email":
            # Who may write any address there would be anybody.
            verified = self.claims.get("email_verified")
            if verified is not True and verified != "true":
                raise InvalidToken("the token's `email` is not verified (`email_verified`)")
            if not value.isascii():
                raise InvalidToken("the token's `email` has other than ASCII characters: they may look alike")
        if name != "sub":
            # One person in two spellings could approve what they have asked for.
            value = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
            if value != value.strip():
                raise InvalidToken(f"the token's `{name}` has spaces around it")
        if domain is None:
            return f"{self.issuer.name}:{value}"
        person, at, theirs = value.rpartition("@")
        if not person or not at or theirs != domain or ":" in person or not value.isascii():
            raise InvalidToken(f"the token's `{name}` is not one of {domain}, for which its issuer speaks")
        return value

    def _authority(self) -> tuple[Role, tuple[str, ...]]:
        if self.issuer.own_claims and self.claims.get("role") is not None:
            return self._claimed()
        groups = self._groups()
        role: Role | None = None
        projects: dict[str, None] = {}
        for rule in self.issuer.rules:
            found = rule.projects_of(groups)
            if found is None or role not in (None, rule.role):
                continue
            allowed = [project for project in found if self.issuer.may_speak_for(project)]
            if allowed or rule.role != "maintainer":
                # The first rule of the file that means somebody decides; a person has one role.
                role = rule.role
                projects.update(dict.fromkeys(allowed))
        if role is None:
            raise InvalidToken(
                f"none of the token's {len(groups)} groups gives its owner a role here: {self.issuer.name}"
                " says in UPGRADES_TOKEN_ISSUERS which do, and for which Projects"
            )
        return role, _bounded(tuple(projects))

    def _claimed(self) -> tuple[Role, tuple[str, ...]]:
        role, projects = self.claims.get("role"), self.claims.get("projects", [])
        chosen = next((each for each in self.issuer.roles if each == role), None)
        if chosen is None:
            raise InvalidToken(f"the token's `role` is not one of {', '.join(self.issuer.roles)}")
        if not isinstance(projects, list) or not all(_is_project(each) for each in projects):
            raise InvalidToken("the token's `projects` is not a list of Project ids")
        beyond = [project for project in projects if not self.issuer.may_speak_for(project)]
        if beyond or (chosen == "maintainer" and not projects):
            raise InvalidToken("the token's `projects` are not those for which its issuer may speak")
        return chosen, _bounded(tuple(dict.fromkeys(projects)))

    def _groups(self) -> frozenset[str]:
        way = (self.issuer.groups,) if isinstance(self.issuer.groups, str) else self.issuer.groups
        found: Any = self.claims
        for name in way:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str):
            found = [found]
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise InvalidToken(f"the token has no list of groups in `{'.'.join(way)}`")
        if len(found) > GROUPS_MAX:
            raise InvalidToken(f"the token names {len(found)} groups, at most {GROUPS_MAX} are read")
        return frozenset(found)


def _between(groups: frozenset[str], before: str, after: str) -> Iterator[str]:
    for group in groups:
        if group.startswith(before) and group.endswith(after):
            project = group[len(before) : len(group) - len(after)]
            if _is_project(project) and len(group) == len(before) + len(project) + len(after):
                yield project


def _is_project(given: object) -> bool:
    try:
        _PROJECT_ID.validate_python(given, strict=True)
    except ValidationError:
        return False
    return True


def _bounded(projects: tuple[str, ...]) -> tuple[str, ...]:
    if len(projects) > PROJECTS_MAX:
        raise InvalidToken(f"the token names {len(projects)} Projects, at most {PROJECTS_MAX} are read")
    return projects
