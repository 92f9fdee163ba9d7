"""Bounds of what people write by hand, decided before it is parsed; and of what came out."""

from typing import Any

FILE_BYTES_MAX = 256 << 10
"""Of one text file: a declaration, a rule, a configuration."""
DEPTH_MAX = 50
"""Of brackets in a text, and of tables and lists in what it says."""
_INTEGER_MAX = 1 << 63


class OutOfBounds(ValueError):
    """A text, or what it says, is larger or deeper than is read; `line` counts from 1, if it is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"{reason} (at line {line})")
        self.line = line


def bounded_size(text: str | bytes, bytes_max: int = FILE_BYTES_MAX) -> None:
    """Raises `OutOfBounds` for more than `bytes_max` bytes of UTF-8."""
    size = (
        len(text) if isinstance(text, bytes) or len(text) > bytes_max else len(text.encode(errors="replace"))
    )
    if size > bytes_max:
        raise OutOfBounds(f"it has more than {bytes_max >> 10} KiB")


def bounded_values(values: Any, *, nul: bool = False) -> None:
    """Raises `OutOfBounds` for what no database keeps and no other program reads.

    Tables or lists more than `DEPTH_MAX` deep, whole numbers of more than 64 bits, text with a NUL
    unless `nul`.
    """
    level, depth = [values], 0
    while level:
        if depth > DEPTH_MAX:
            raise OutOfBounds(f"values are nested more than {DEPTH_MAX} deep")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                if not nul and "\0" in value:
                    raise OutOfBounds("a text holds a NUL character")
            elif isinstance(value, int) and not -_INTEGER_MAX <= value < _INTEGER_MAX:
                raise OutOfBounds("a whole number has more than 64 bits")
        level, depth = below, depth + 1
