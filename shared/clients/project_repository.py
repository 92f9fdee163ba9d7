"""A registered Project's repository, as a worker may reach it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.clients.git_access import WorkersAccess
from shared.clients.secrets import Secrets
from shared.contracts.projects import Project
from shared.contracts.stages import Finding
from shared.errors import Failure
from shared.repository_urls import BadRepository, RepositoryRules


def access_for(
    project: Project, secrets: Secrets, rules: RepositoryRules, known_hosts: Path
) -> WorkersAccess:
    """The way to the Project's repository, with its credential if it names one. Raises `MissingSecret`."""
    named = project.definition.credential
    credential = None if named is None else secrets.of(project.id, "repository").resolve(named)
    return WorkersAccess(rules, credential, known_hosts)


def clone_name(project: Project) -> str:
    """The folder of its clone: a Project meets no object of another, or of a repository that it has left."""
    return f"{project.id}-{hashlib.sha256(project.repository.encode()).hexdigest()[:16]}"


@contextmanager
def repository_taken() -> Iterator[None]:
    """Raise `Failure` for a repository that this worker does not take: another must be registered."""
    try:
        yield
    except BadRepository as error:
        finding = Finding(
            kind="environment",
            subject="repository",
            detail=error.reason,
            cure=f"{error.cure}; then register the Project again",
        )
        raise Failure("the Project's repository is not taken by this worker", finding) from None
