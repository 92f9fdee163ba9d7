"""Secrets taken out of an answer: only out of words that people read, never out of what a worker compares."""

from collections.abc import Callable

from shared.contracts.facts import CheckResult, ChecksFacts, DeployFacts, RollBackFacts, Step
from shared.contracts.stages import Errored, Failed, Finding, Outcome, Succeeded

# A message stays far below what a broker takes; what is longer lies in the content store.
_WORDS_CHARACTERS_MAX = 8000


def without_secrets(outcome: Outcome, redact: Callable[[str], str]) -> Outcome:
    """`outcome` with every sentence redacted, and cut to a bearable length."""

    def words(text: str) -> str:
        clean = redact(text)
        return clean if len(clean) <= _WORDS_CHARACTERS_MAX else clean[:_WORDS_CHARACTERS_MAX] + " …"

    def of_results(results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
        return tuple(result.model_copy(update={"detail": words(result.detail)}) for result in results)

    def of_findings(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        return tuple(
            finding.model_copy(update={"detail": words(finding.detail), "cure": words(finding.cure)})
            for finding in findings
        )

    def of_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(step.model_copy(update={"detail": words(step.detail)}) for step in steps)

    match outcome:
        case Errored():
            return outcome.model_copy(update={"reason": words(outcome.reason)})
        case Failed():
            changes = {
                "reason": words(outcome.reason),
                "findings": of_findings(outcome.findings),
                "results": of_results(outcome.results),
            }
            return outcome.model_copy(update=changes)
        case Succeeded(facts=ChecksFacts() as facts):
            return Succeeded(facts=facts.model_copy(update={"results": of_results(facts.results)}))
        case Succeeded(facts=DeployFacts() | RollBackFacts() as facts):
            return Succeeded(facts=facts.model_copy(update={"steps": of_steps(facts.steps)}))
        case Succeeded():
            return outcome
