"""The grammar of mask rules, as a schema's comments and `masking.toml` write them: `/// @mask date 30`. Pure.

A rule is a word, and for some words an amount: `date <days>`, `number <amount>`, `json <key,key>`.
"""

import re

from shared.prisma.blocks import Member

MaskRule = str
"""A rule as `parse_rule` spells it."""
RULES: tuple[MaskRule, ...] = (
    *("email", "name", "phone", "hash", "uuid", "enum", "date 30", "number 10", "json", "null", "keep"),
)
"""One rule of each kind, to be shown."""
_PLAIN = frozenset(rule for rule in RULES if " " not in rule)
DAYS_MAX = 3650
_AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")
_CHARACTERS_MAX = 2000


def parse_rule(text: str) -> MaskRule | None:
    """The rule that the text says, in one spelling; none where it says none. Noise of nothing is no rule."""
    word, _, rest = text[:_CHARACTERS_MAX].strip().partition(" ")
    said = rest.split()
    if word in {"date", "number"}:
        return _noise(word, said[0]) if len(said) == 1 else None
    if word == "json" and said:
        keys = sorted({key for key in said[0].split(",") if key}) if len(said) == 1 else []
        return f"json {','.join(keys)}" if keys else None
    # What follows another word is a person's remark.
    return word if word in _PLAIN else None


def word_of(rule: MaskRule) -> str:
    """The rule without its amount."""
    return rule.partition(" ")[0]


def amount_of(rule: MaskRule) -> str:
    """What stands behind the word; empty behind one that takes nothing."""
    return rule.partition(" ")[2]


def kept_keys(rule: MaskRule) -> tuple[str, ...]:
    """The keys of documents that a `json` rule declares, and so keeps."""
    return tuple(key for key in amount_of(rule).split(",") if key)


def mask_word(member: Member) -> str | None:
    """The text behind a field's last `@mask`, whatever it is; empty behind one that says nothing."""
    said = [note.partition("@mask")[2] for note in member.annotations if note.split()[0] == "@mask"]
    return " ".join(said[-1].split()) if said else None


def _noise(word: str, said: str) -> MaskRule | None:
    if not _AMOUNT.fullmatch(said) or not float(said):
        return None
    whole, _, fraction = said.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    if word == "date" and (fraction or int(whole) > DAYS_MAX):
        return None
    return f"{word} {whole}.{fraction}" if fraction else f"{word} {whole}"
