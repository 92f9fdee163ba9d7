"""Schemas for tests of other things than masks: what has no rule and is no text is kept as it is."""

import re

_PLAIN = re.compile(r"\s*\w+\s+(Int|BigInt|Float|Decimal|DateTime|mood)\b")


def with_kept(schema: str) -> str:
    """The schema with `/// @mask keep` above each number, day and label that has no rule."""
    lines: list[str] = []
    for line in schema.splitlines():
        if _PLAIN.match(line) and not (lines and "@mask" in lines[-1]):
            lines.append("  /// @mask keep")
        lines.append(line)
    return "\n".join(lines)
