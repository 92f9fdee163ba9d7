"""Candidates: what staging has proven, and a person's word for exactly that."""

from pydantic import Field

from shared.contracts.policies import Rules, Word
from shared.contracts.values import Commit, Contract, Digest, ProjectId, RunId, Timestamp


class Candidate(Contract):
    """What was proven in staging. Its digest is what an approval names."""

    plan: Digest
    base: Commit
    tree: Commit
    commit: Commit
    migrations: tuple[tuple[str, Digest], ...] = Field(description="(folder, checksum), in order")
    checks: tuple[tuple[str, str, str], ...] = Field(description="(stage, check, verdict), sorted")
    packages: tuple[Digest, ...]
    production_schema: Digest


class ApprovedCandidate(Contract):
    """A candidate with the approval of it, whole: whoever deploys can check each part for itself."""

    run_id: RunId
    project: ProjectId
    candidate: Candidate
    by: str = Field(description="the approver, of several the last")
    at: Timestamp
    subject: Digest = Field(description="the digest of the candidate that was approved")
    words: tuple[Word, ...] = Field(
        default=(), description="of every approver, each for this digest", exclude_if=lambda words: not words
    )
    asked_by: tuple[str, ...] = Field(
        default=(),
        description="who asked for the plan, started the Run, or had it go on: their approval does not count",
        exclude_if=lambda asked: not asked,
    )
    rules: Rules | None = Field(
        default=None,
        description="the Project's policy with which the Run began, or a stricter one",
        exclude_if=lambda rules: rules is None,
    )
