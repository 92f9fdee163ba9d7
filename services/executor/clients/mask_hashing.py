"""A value of any type made from a hash, as SQL that production's server computes. It keeps no order."""

from services.executor.clients.mask_types import INT_BITS, JSON_KINDS, Column
from shared.prisma.mask_words import MaskRule, kept_keys
from shared.sql.names import literal

_DAYS = 25_567
"""From 1950 to 2019."""
_SECONDS = _DAYS * 86_400
_EXACT = 53
"""Programs that keep numbers as floats lose what has more bits."""


def spelled(value: str, kind: str) -> str:
    """Text of the value that is the same for values which the type calls equal."""
    match kind:
        case "numeric":
            return f"trim_scale({value})::text"
        case "float4" | "float8":
            return f"({value} + 0)::text"
        case "interval":
            return f"justify_interval({value})::text"
        case _:
            return f"{value}::text"


def hashed_value(value: str, hashed: str, column: Column, bits: int, apart_bits: int) -> str:
    """SQL of a value of the column's type from `hashed`, 64 hexadecimal digits.

    No more than `bits` decide a whole number, and not fewer than `apart_bits` where they fit.
    """
    kind = column.kind
    if kind in (*INT_BITS, "oid", "xid", "xid8", "float4", "float8"):
        most = min(bits, max(_EXACT, apart_bits)) if kind in ("int8", "xid8") else bits
        return f"(({_number(hashed)}) & {2**most - 1})::text"
    if kind == "numeric":
        return _decimal_value(hashed, column)
    by_number = _BY_NUMBER.get(kind)
    if by_number is not None:
        return by_number.replace("{n}", f"(({_number(hashed)}) & {2**53 - 1})")
    by_place = _GEOMETRY.get(kind)
    if by_place is not None:
        x, y = (
            f"(({_number(hashed, at)}) & {2**24 - 1}) / {2**24 / span}" for at, span in ((1, 90), (17, 180))
        )
        numbers = ", ".join({"x": x, "y": y, "1": "1"}[each] for each in by_place[1])
        return f"CASE WHEN {value} IS NOT NULL THEN format('{by_place[0]}', {numbers}) END"
    if kind in ("bit", "varbit"):
        long = f"repeat({hashed}, length({value}) / 256 + 1)"
        return f"substring(('x' || {long})::varbit::text, 1, length({value}))"
    return _OF_TEXT[kind].replace("{hash}", hashed).replace("{value}", value)


def uuid_of(hashed: str) -> str:
    """A random UUID's version and variant, and 122 bits of the hash."""
    variant = f"substr('89ab', 1 + (('x' || substr({hashed}, 17, 1))::bit(4)::int & 3), 1)"
    return (
        f"(left({hashed}, 8) || '-' || substr({hashed}, 9, 4) || '-4' || substr({hashed}, 13, 3) || '-'"
        f" || {variant} || substr({hashed}, 18, 3) || '-' || substr({hashed}, 21, 12))"
    )


def label_of(value: str, column: Column, ring: list[str]) -> str:
    """Each label becomes the next one in the `ring`, so none stays and two that differ still do."""
    following = zip(ring, [*ring[1:], *ring[:1]], strict=True)
    cases = "".join(f" WHEN {literal(one)} THEN {literal(other)}" for one, other in following)
    return f"CASE {value}::text{cases} END" if ring else f"{value}::text"


def shape_of(value: str, rule: MaskRule, salt: str) -> str:
    """The same document with strings "masked", numbers 0, and keys hashed but those that the rule declares.

    In jsonb's text `": "` follows a key and stands nowhere else outside a string: each piece is a key with
    it, a string, a number, or what lies between.
    """
    pieces = r'"(?:[^"\\]|\\.)*"(?:: )?|-?[0-9][0-9.eE+-]*|[^"0-9-]+|-'
    digest = f"left(encode(sha256(convert_to('{salt}' || piece[1], 'UTF8')), 'hex'), 16)"
    declared = " WHEN piece[1] IN ({}) THEN piece[1]"
    keys = [f"to_json({literal(key)}::text)::text || ': '" for key in kept_keys(rule)]
    return (
        f"CASE WHEN {value} IS NOT NULL THEN (SELECT string_agg(CASE"
        f"{declared.format(', '.join(keys)) if keys else ''}"
        f""" WHEN piece[1] LIKE '"%": ' THEN '"' || {digest} || '": '"""
        """ WHEN left(piece[1], 1) = '"' THEN '"masked"' WHEN piece[1] ~ '^-?[0-9]' THEN '0'"""
        " ELSE piece[1] END, '' ORDER BY place)"
        f" FROM regexp_matches({value}::jsonb::text, {literal(pieces)}, 'g')"
        " WITH ORDINALITY pieces(piece, place))::jsonb END"
    )


def decimal_digits(hashed: str, digits: int) -> str:
    """At least so many decimal digits of a hash, ten at a time."""
    tens = (
        f"lpad((('x' || substr({hashed}, {1 + 12 * part}, 12))::bit(48)::bigint % {10**10})::text, 10, '0')"
        for part in range(max(1, -(-digits // 10)))
    )
    return f"({' || '.join(tens)})"


def _number(hashed: str, start: int = 1) -> str:
    return f"('x' || substr({hashed}, {start}, 16))::bit(64)::bigint"


def _decimal_value(hashed: str, column: Column) -> str:
    scale = column.scale or 0
    before = 15 if column.digits is None else min(max(column.digits - scale, 0), 15)
    behind = min(max(scale, 0), 15)
    digits = decimal_digits(hashed, 30)
    if not behind:
        return f"left({digits}, {before})"
    # All digits of a number below one stand behind the point, the first of them perhaps as noughts.
    most = behind if column.digits is None else min(behind, column.digits)
    return f"('0' || left({digits}, {before}) || '.' || lpad(substr({digits}, 16, {most}), {behind}, '0'))"


_BY_NUMBER = {
    "money": f"(({{n}} % {10**13})::numeric / 100)::text",
    "date": f"('1950-01-01'::date + ({{n}} % {_DAYS})::int)::text",
    "timestamp": f"('1950-01-01'::timestamp + ({{n}} % {_SECONDS}) * '1 second'::interval)::text",
    "timestamptz": f"('1950-01-01 00Z'::timestamptz + ({{n}} % {_SECONDS}) * '1 second'::interval)::text",
    "time": "('00:00'::time + ({n} % 86400) * '1 second'::interval)::text",
    "timetz": "('00:00+00'::timetz + ({n} % 86400) * '1 second'::interval)::text",
    "interval": f"(({{n}} % {365 * 86_400}) * '1 second'::interval)::text",
    "pg_lsn": "(to_hex({n} >> 24) || '/' || to_hex({n} & 16777215))",
}
# Somewhere on the earth, as far as a pair of numbers says where.
_GEOMETRY = {
    "point": ("(%s,%s)", "xy"),
    "circle": ("<(%s,%s),%s>", "xy1"),
    "box": ("(%s,%s),(%s,%s)", "xyyx"),
    "lseg": ("[(%s,%s),(%s,%s)]", "xyyx"),
    "path": ("[(%s,%s),(%s,%s)]", "xyyx"),
    "polygon": ("((%s,%s),(%s,%s),(%s,%s))", "xyyxyy"),
    "line": ("{%s,%s,%s}", "1xy"),
}
_IPV4 = "('x' || substr({hash}, {at}, 2))::bit(8)::int"
_HOST = (
    "CASE WHEN {value} IS NULL THEN NULL WHEN family({value}) = 4 THEN format('10.%s.%s.%s/%s', "
    + ", ".join(_IPV4.replace("{at}", str(at)) for at in (1, 3, 5))
    + ", masklen({value})) ELSE format('fd%s:%s:%s:%s:%s:%s:%s:%s/%s', substr({hash}, 1, 2), "
    + ", ".join(f"substr({{hash}}, {at}, 4)" for at in range(3, 31, 4))
    + ", masklen({value})) END"
)
_OF_TEXT = {
    "inet": _HOST,
    "cidr": f"network(({_HOST})::inet)::text",
    "macaddr": "('02' || left({hash}, 10))",
    "macaddr8": "('02' || left({hash}, 14))",
    "xml": "('<masked>' || {hash} || '</masked>')",
    "tsvector": "('''' || {hash} || '''')",
    "tsquery": "('''' || {hash} || '''')",
    "hstore": "('\"' || left({hash}, 32) || '\"=>\"masked\"')",
    "jsonpath": "('$.\"' || {hash} || '\"')",
    "char": "left({hash}, 1)",
}
assert not JSON_KINDS & _OF_TEXT.keys()
