"""Answers that a topic takes: one that is too large is cut, or becomes the verdict that it is too large."""

from shared.contracts.stages import Failed, Finding, StageFinished
from shared.storage.database import BODY_BYTES_MAX

# What the commit and the envelope may add.
_ROOM_BYTES = 4096
_KEPT = (100, 20, 5)
_WORDS_CHARACTERS_MAX = 1000


def that_fits(result: StageFinished) -> StageFinished:
    """The result, or one that can be sent: otherwise the stage would be done again and again."""
    size = len(result.body())
    if size <= BODY_BYTES_MAX - _ROOM_BYTES:
        return result
    outcome = result.outcome
    if isinstance(outcome, Failed):
        for most in _KEPT:
            cut = result.model_copy(update={"outcome": _cut(outcome, most)})
            if len(cut.body()) <= BODY_BYTES_MAX - _ROOM_BYTES:
                return cut
    detail = f"What the stage found has {size} bytes, and a message takes {BODY_BYTES_MAX}."
    finding = Finding(
        kind="package",
        subject=result.stage,
        detail=detail,
        cure="upgrade fewer Systems or versions at once, or ask for a Release with smaller scripts",
    )
    refused = Failed(reason="the stage's answer is too large", findings=(finding,))
    return result.model_copy(update={"outcome": refused})


def _cut(outcome: Failed, most: int) -> Failed:
    kept = tuple(
        each.model_copy(update={"detail": each.detail[:_WORDS_CHARACTERS_MAX]})
        for each in outcome.findings[:most]
    )
    left = len(outcome.findings) - len(kept)
    reason = outcome.reason[:_WORDS_CHARACTERS_MAX] + (f" (and {left} more findings)" if left > 0 else "")
    return outcome.model_copy(update={"reason": reason, "findings": kept})
