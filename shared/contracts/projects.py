"""Projects: what a partner declares in `upgradepath.toml`, and its registration.

In a message an unknown key is ignored, as everywhere; in the file that a person writes it is a typing
mistake, and `shared.project_file` refuses it.
"""

from operator import not_
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from shared.contracts.policies import Policy, Word
from shared.contracts.topics import PROJECT_COMMANDS, PROJECT_EVENTS, Topic
from shared.contracts.values import (
    Command,
    Contract,
    Message,
    PoolName,
    ProjectId,
    SystemName,
    Version,
)

Argv = Annotated[tuple[str, ...], Field(min_length=1)]
SecretName = Annotated[
    str, Field(pattern=r"^secret:[a-z][a-z0-9-]*$", examples=["secret:acme-production-database"])
]
CheckName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


Reach = Annotated[
    str,
    Field(
        pattern=r"^(address|database|variables|([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5})$",
        examples=["address", "database", "variables", "api.hosting.example:443"],
    ),
]
"""What a command may reach: the address or the database of its environment, the hosts of the URLs in the
environment's variables, or one host and port."""


class Environment(Contract):
    """Where the Project runs; its commands are the Project's own, run in a checkout of the commit."""

    database: SecretName = Field(description="the name of the secret that holds its PostgreSQL URL")
    activate: Argv = Field(description="safe to repeat; prints `address=http://…` once it is up")
    observe: Argv = Field(description="prints the commit that is live, or nothing")
    health: Argv = Field(description="exits 0 when the app at the address is well")
    destroy: Argv = Field(description="safe to repeat; takes the app away")
    logs: Argv = Field(description="prints what the app has logged")
    deadline_s: float = Field(default=60, gt=0, le=3600, description="for each command, in seconds")
    variables: dict[str, str] = Field(default={}, description="literals, or `secret:name`")
    network: tuple[Reach, ...] = Field(
        default=("address", "database", "variables"),
        max_length=32,
        description="what its commands may reach, and nothing else",
        exclude_if=lambda network: network == ("address", "database", "variables"),
    )


class Production(Environment):
    """The environment that customers use."""

    branch: str = Field(default="main", min_length=1, description="what is deployed, and pushed to")


class StagingData(Contract):
    """Where staging's rows come from."""

    data: Literal["masked-copy", "seed"] = Field(
        default="masked-copy", description="production's rows with masks, or the rows of `seed`"
    )
    seed: str | None = Field(default=None, description="an SQL file in the repository")
    rows_max: int | None = Field(
        default=None,
        ge=0,
        description="of each table that `rows` does not name; all of them when null",
        exclude_if=lambda most: most is None,
    )
    rows: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={},
        description="rows at the most, by table, with its schema unless that is public",
        exclude_if=lambda rows: not rows,
    )

    @model_validator(mode="after")
    def _seed_is_named(self) -> "StagingData":
        if self.data == "seed" and self.seed is None:
            raise ValueError('name the SQL file in `seed` when data = "seed"')
        return self


RepositoryFolder = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_@()+][A-Za-z0-9._@()+-]*(/[A-Za-z0-9_@()+][A-Za-z0-9._@()+-]*)*$",
        max_length=200,
        examples=["packages/database/prisma/schema"],
    ),
]
"""A folder below the repository's root, without a slash at its ends."""


class PrismaPaths(Contract):
    """Where Prisma's files lie in the repository; a package has them in `prisma/`, whatever stands here."""

    schemas: RepositoryFolder = Field(
        default="prisma/schema", description="the folder of the schema files, a System's part in its own"
    )
    migrations: RepositoryFolder = Field(default="prisma/migrations", description="Prisma's migrations")

    @property
    def main(self) -> str:
        """The Project's own part of the schema."""
        return f"{self.schemas}/main.prisma"

    @property
    def single(self) -> str:
        """The schema as one file, as most Projects begin."""
        return f"{self.schemas}.prisma"

    @property
    def lock_file(self) -> str:
        """Says for which database Prisma keeps the migrations."""
        return f"{self.migrations}/migration_lock.toml"

    @property
    def adopted_file(self) -> str:
        """Which migrations of Systems the Project had when it was adopted."""
        return f"{self.migrations}/adopted.toml"

    def fragment(self, system: SystemName) -> str:
        """A System's part of the schema."""
        return f"{self.schemas}/{system}.prisma"

    def is_schema(self, path: str) -> bool:
        """Whether the file is part of the Project's schema."""
        if path == self.single:
            return True
        return path.startswith(f"{self.schemas}/") and path.endswith(".prisma")


class Hosting(Contract):
    """What is the provider's in production: it is shown and left alone. What neither a migration nor a schema
    file names is the provider's without being named here."""

    schemas: tuple[str, ...] = Field(default=(), max_length=100, examples=[["auth", "storage"]])
    extensions: tuple[str, ...] = Field(default=(), max_length=100, examples=[["pg_net"]])


class Workflows(Contract):
    """The partner's own rules."""

    rules: str = Field(default="workflows", description="the folder of rule files in the repository")


class _Check(Contract):
    deadline_s: float = Field(default=60, gt=0, le=3600, description="in seconds; late is failed")


class CommandCheck(_Check):
    """Passes when the command exits 0."""

    kind: Literal["command"] = "command"
    run: Argv = Field(description="a program and its arguments, run in the checkout; no shell")
    network: tuple[Reach, ...] = Field(
        default=("address", "database"),
        max_length=32,
        description="what it may reach, and nothing else",
        exclude_if=lambda network: network == ("address", "database"),
    )


class HttpCheck(_Check):
    """Passes when the started staging app answers as expected."""

    kind: Literal["http"] = "http"
    path: str = Field(pattern=r"^/", description="below the address that `activate` printed")
    method: Literal["GET", "POST", "PUT", "DELETE", "HEAD"] = "GET"
    body: str | None = Field(
        default=None, description="sent as JSON when it begins with a brace or bracket, else as a form"
    )
    status: int = Field(default=200, ge=100, le=599, description="the status that is expected")
    contains: str | None = Field(default=None, description="text that the answer's body has")


class SqlCheck(_Check):
    """Passes when the query's single value, as text, is what is expected."""

    kind: Literal["sql"] = "sql"
    query: str = Field(min_length=1, description="reads one value from staging's database")
    expect: str = Field(description="the value as text")


class LogCheck(_Check):
    """Passes when no line of the log matches any of the patterns."""

    kind: Literal["log"] = "log"
    absent: tuple[str, ...] = Field(min_length=1, description="Python regular expressions")


class SignOffCheck(_Check):
    """Passes when an approver of the Project answers yes."""

    kind: Literal["sign-off"] = "sign-off"
    question: str = Field(min_length=1, description="shown to who signs off")


Check = Annotated[CommandCheck | HttpCheck | SqlCheck | LogCheck | SignOffCheck, Field(discriminator="kind")]


class Environments(Contract):
    """Both are needed: what was not proven in staging never reaches production."""

    production: Production
    staging: Environment


class Checks(Contract):
    """Named checks per stage; each stage must declare at least one."""

    validate_: dict[CheckName, Check] = Field(alias="validate", min_length=1)
    check_workflows: dict[CheckName, Check] = Field(alias="check-workflows", min_length=1)

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)


class ProjectDefinition(Contract):
    """The whole of `upgradepath.toml`."""

    id: ProjectId
    name: str = Field(min_length=1, description="as people read it")
    on_failure: Literal["wait", "roll-back"] = Field(
        default="wait", description="when a stage says no: the Run waits for its maintainer, or undoes itself"
    )
    credential: SecretName | None = Field(
        default=None,
        description="what opens the repository: `user:token` or a token for https, a private key for ssh",
        exclude_if=lambda credential: credential is None,
    )
    environments: Environments
    staging: StagingData = StagingData()
    workflows: Workflows = Workflows()
    checks: Checks
    prisma: PrismaPaths = Field(default=PrismaPaths(), exclude_if=lambda prisma: prisma == PrismaPaths())
    hosting: Hosting = Field(default=Hosting(), exclude_if=lambda hosting: hosting == Hosting())
    pool: PoolName | None = Field(
        default=None,
        description="the worker pool that does its stages; none for the common workers",
        exclude_if=lambda pool: pool is None,
    )


class Project(Contract):
    """A registered Project. Who may approve stands here, never on an upgrade branch."""

    id: ProjectId
    repository: str = Field(min_length=1, description="a URL or path that `git clone` takes")
    definition: ProjectDefinition
    approvers: tuple[str, ...] = Field(min_length=1, description="actor ids")
    policy: Policy = Field(
        default=Policy(), description="who may decide what", exclude_if=lambda policy: policy == Policy()
    )


class RegisterProject(Command):
    """Register a Project with its first pins, or change its registration (pins then stay as they are).

    A change that carries weight needs as many of its present approvers as its policy says.
    """

    topic: ClassVar[Topic] = PROJECT_COMMANDS
    answers: ClassVar[Topic] = PROJECT_EVENTS
    project: Project
    pins: dict[SystemName, Version] = Field(min_length=1)
    propose: bool = Field(
        default=False,
        description="keep a change that the actor may not make, for approvers to confirm",
        exclude_if=not_,
    )

    def key(self) -> str:
        return self.project.id


class ProjectRegistered(Message):
    """A Project is registered, or its registration changed."""

    topic: ClassVar[Topic] = PROJECT_EVENTS
    project: Project
    changed_by: tuple[Word, ...] = Field(
        default=(), description="who asked for it and who agreed", exclude_if=not_
    )
    revision: int = Field(ge=1)

    def key(self) -> str:
        return self.project.id

    def identity(self) -> str:
        return f"{self.project.id}/{self.revision}"
