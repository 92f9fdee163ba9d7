"""`masking.toml`: a Project's mask rules in a file of their own, beside or instead of those in its schema.

    [User]
    email = "email"
    born = "date 30"
    nickname = "hash?"     a proposal, which counts for nothing until somebody takes the question mark away

A table for each model, a line for each field. A rule may stand here or in the schema; where both name one,
they must agree.
"""

from collections.abc import Mapping

from shared.contracts.folding import folded_places
from shared.contracts.refusals import Refusal
from shared.declarations import parse_toml
from shared.errors import Reject
from shared.prisma.mask_words import RULES, parse_rule

MASKING_FILE = "masking.toml"
PROPOSED = "?"
Masks = Mapping[tuple[str, str], str]
"""By model and field: a rule, or a proposal with its question mark."""

_BYTES_MAX = 1 << 20


class UnfitMasks(ValueError):
    """The file's rules name what is not there, or disagree with the schema's."""


def read_masks(text: str) -> Masks:
    """Raises `Reject` with every line that is no rule."""
    masks: dict[tuple[str, str], str] = {}
    refusals: list[Refusal] = []
    # A line for each of a large database's columns.
    for model, fields in parse_toml(text, file=MASKING_FILE, bytes_max=_BYTES_MAX).items():
        if not isinstance(fields, dict):
            refusals.append(_refusal("this is no model's table of fields", model, fields))
            continue
        for field, rule in fields.items():
            if isinstance(rule, str) and (read := parse_rule(rule.removesuffix(PROPOSED))) is not None:
                masks[model, field] = f"{read}{PROPOSED}" if rule.endswith(PROPOSED) else read
            else:
                refusals.append(_refusal("this is no mask rule", f"{model}.{field}", rule))
    if refusals:
        raise Reject(*folded_places(refusals))
    return masks


def _refusal(reason: str, where: str, value: object) -> Refusal:
    cure = f'write [Model] and below it field = "rule", with one of {", ".join(RULES)}'
    return Refusal(
        kind="invalid", reason=reason, field=f"{MASKING_FILE}: {where}", value=str(value)[:100], cure=cure
    )
