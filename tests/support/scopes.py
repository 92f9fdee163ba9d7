"""Secrets and repositories of Projects in tests: scoped as in production, on this machine alone."""

from shared.clients.git_access import WorkersAccess
from shared.clients.secret_sources import Scope, SecretPlace, variable_of
from shared.repository_urls import RepositoryRules

LOCAL_RULES = RepositoryRules(local=True)
LOCAL = WorkersAccess(LOCAL_RULES)
"""Repositories in folders of this machine, as a world of `dev` takes them."""


def variable(project: str, environment: Scope, name: str) -> str:
    """The variable that holds this secret."""
    found = variable_of(SecretPlace(project, environment, name))
    assert found is not None, "no variable can hold it"
    return found


def project_secrets(
    production: str, staging: str, hosting: str, *, project: str = "acme-portal"
) -> dict[str, str]:
    """Variables with a small Project's databases and hosting, each in both of its environments' scopes."""
    return {
        variable(project, "production", "production-database"): production,
        variable(project, "staging", "staging-database"): staging,
        variable(project, "production", "hosting"): hosting,
        variable(project, "staging", "hosting"): hosting,
    }
