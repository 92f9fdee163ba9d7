"""Noise that keeps order: a date moved back, a number moved up, as SQL that production's server computes.

The axis is cut into cells as wide as the noise. At each border between two cells a secret hash says by how
much is moved, and between two borders the noise passes evenly from one to the other. It falls by less than
the value grows, so of two values the greater one stays the greater or becomes equal, and equal ones stay
equal. A hash never says nothing, so no value stays. Where values must stay apart, all are moved by the same.

Dates move into the past and numbers up: what is common to ask of them, not of the future and not below zero,
then still holds, and a copy that does not fit says so each time and not by chance.
"""

from decimal import Decimal

from services.executor.clients.mask_types import INT_BITS, MULTIRANGES, RANGES, Column
from shared.prisma.mask_words import MaskRule, amount_of, word_of

_DAY = 86_400_000_000
"""In microseconds."""
_MOMENT_MAX = 9 * 10**18
"""In microseconds: the end of the axis, in the year 287,000. Both calendars of PostgreSQL go on behind it."""
_FLOAT_MAX = {"float4": "3.40282e38", "float8": "1.79769313486231e308"}
_SCALE_UNBOUND = 9


def noise(value: str, column: Column, rule: MaskRule, salt: str, *, same_for_all: bool) -> str:
    """The masked value of a column that takes `rule`; a part of a range is masked like the range."""
    kind = column.kind
    if kind in MULTIRANGES:
        each = _range("part", MULTIRANGES[kind], column, rule, salt, same_for_all)
        return f"coalesce((SELECT range_agg({each}) FROM unnest({value}) part), {value})"
    if kind in RANGES:
        return _range(value, kind, column, rule, salt, same_for_all)
    return _scalar(value, kind, column, rule, salt, same_for_all)


def _range(value: str, kind: str, column: Column, rule: MaskRule, salt: str, same_for_all: bool) -> str:
    low, high = (
        _scalar(f"{end}({value})", RANGES[kind], column, rule, salt, same_for_all)
        for end in ("lower", "upper")
    )
    bounds = (
        f"CASE WHEN lower_inc({value}) THEN '[' ELSE '(' END"
        f" || CASE WHEN upper_inc({value}) THEN ']' ELSE ')' END"
    )
    return f"CASE WHEN coalesce(isempty({value}), true) THEN {value} ELSE {kind}({low}, {high}, {bounds}) END"


def _scalar(value: str, kind: str, column: Column, rule: MaskRule, salt: str, same_for_all: bool) -> str:
    # One key for all columns of the same noise: a beginning stays before its end.
    key, amount = f"{salt}/{rule}/", Decimal(amount_of(rule))
    if word_of(rule) == "date":
        return _date(value, kind, key, int(amount), same_for_all)
    if kind in INT_BITS:
        return _whole(value, kind, key, int(amount), same_for_all)
    return _fraction(value, kind, column, key, amount, same_for_all)


def _date(value: str, kind: str, key: str, days: int, same_for_all: bool) -> str:
    least = max(1, days // 4)
    microseconds = (
        f"({value} - '2000-01-01'::date)::numeric * {_DAY}"
        if kind == "date"
        else f"extract(epoch FROM {value})::numeric * 1000000"
    )
    # Behind the last moment that fits, all are moved by the same.
    axis = f"least({microseconds}, {_MOMENT_MAX})::bigint"
    if same_for_all:
        moved = f"({least} + floor({_share(key, '0')} * {days - least + 1}))::bigint * {_DAY}"
        from_axis = ""
    else:
        moved = _between("x", days * _DAY, least * _DAY, key)
        from_axis = f" FROM (SELECT {axis} AS x OFFSET 0) axis"
    if kind == "date":
        result = f"{value} - ceil(({moved})::numeric / {_DAY})::int"
    else:
        result = f"{value} - ({moved}) * '1 microsecond'::interval"
    # Nothing is before the calendar's first day, and infinity has no neighbours.
    return (
        f"CASE WHEN {value} IS NULL OR NOT isfinite({value}) OR {value} < '4690-01-01 BC'"
        f" THEN {value} ELSE (SELECT {result}{from_axis})::{kind} END"
    )


def _whole(value: str, kind: str, key: str, amount: int, same_for_all: bool) -> str:
    most = 2 ** INT_BITS[kind] - 1
    amount = min(amount, most)
    least = max(1, amount // 4)
    if same_for_all:
        return f"({value} + ({least} + floor({_share(key, '0')} * {amount - least + 1}))::bigint)::{kind}"
    moved = _between("x", amount, least, key)
    axis = f"(SELECT least(greatest({value}::bigint, {amount - most}), {most - amount}) AS x OFFSET 0) axis"
    # The least of nothing and a number is the number.
    return f"CASE WHEN {value} IS NOT NULL THEN (SELECT x + {moved} FROM {axis})::{kind} END"


def _between(x: str, width: int, least: int, key: str) -> str:
    """The noise at `x`, a bigint from `least` to `width`, which is the width of a cell too."""
    place = f"((({x} % {width}) + {width}) % {width})"
    cell = f"(({x} - {place}) / {width})"
    here, there = (
        f"({least} + {_share(key, number)} * {width - least})" for number in (cell, f"({cell} + 1)")
    )
    return f"round({here} + ({there} - {here}) * ({place}::float8 / {width}))::bigint"


def _share(key: str, number: str) -> str:
    """From 0 to less than 1, by a hash."""
    digest = f"encode(sha256(convert_to('{key}' || {number}, 'UTF8')), 'hex')"
    return f"(('x' || left({digest}, 8))::bit(32)::bigint / {2.0**32})"


def _fraction(value: str, kind: str, column: Column, key: str, amount: Decimal, same_for_all: bool) -> str:
    scale = 2 if kind == "money" else _SCALE_UNBOUND if column.scale is None else column.scale
    least = max(column.grain, amount / 4)
    axis = f"{value}::numeric"
    if kind == "numeric" and column.digits is not None:
        most = Decimal(10) ** (column.digits - scale) - column.grain
        axis = f"least({axis}, {most - amount:f})"
    span = f"({amount:f} - {least:f})"
    if same_for_all:
        moved = f"x + round({least:f} + {_share(key, '0')}::numeric * {span}, {max(scale, 0)})"
    else:
        cell = f"floor(x / {amount:f})"
        here, there = (
            f"({least:f} + {_share(key, number)}::numeric * {span})" for number in (cell, f"({cell} + 1)")
        )
        moved = f"round(x + {here} + ({there} - {here}) * ((x - {cell} * {amount:f}) / {amount:f}), {scale})"
    if kind in _FLOAT_MAX:
        moved = f"least(greatest({moved}, -{_FLOAT_MAX[kind]}), {_FLOAT_MAX[kind]})"
    elif kind == "numeric" and column.scale is None:
        moved = f"trim_scale({moved})"
    masked = f"(SELECT {moved} FROM (SELECT {axis} AS x OFFSET 0) axis)::{kind}"
    unbound = f"{value} IS NULL"
    if kind != "money":
        unbound += f" OR {value}::text IN ('NaN', 'Infinity', '-Infinity')"
    return f"CASE WHEN {unbound} THEN {value} ELSE {masked} END"
