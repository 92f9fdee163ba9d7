"""What each mask rule makes of a value, as SQL that production's server computes."""

from dataclasses import dataclass

from services.executor.clients.postgres import quoted
from services.executor.clients.prisma import MaskRule

JSON_KINDS = frozenset({"json", "jsonb"})
# Numbers, booleans, times and enums: what a person writes cannot stand in them.
_PLAIN_CATEGORIES = frozenset("NBDTE")
_PLAIN_KINDS = frozenset(
    {
        *("uuid", "pg_lsn", "xid", "xid8", "pg_snapshot", "txid_snapshot"),
        *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"),
        *("int4multirange", "int8multirange", "nummultirange"),
        *("tsmultirange", "tstzmultirange", "datemultirange"),
    }
)


@dataclass(frozen=True)
class Column:
    """A column of production. `kind` and `category` are of its element where it holds `many`.

    `type` is as PostgreSQL spells it, `kind` its bare name (of what a domain stands for), `category`
    PostgreSQL's letter for it (S: strings). What is `text_only` has no binary form, or one that carries
    oids, which differ from database to database.
    """

    schema: str
    table: str
    column: str
    required: bool
    type: str
    generated: bool
    text_only: bool
    many: bool
    kind: str
    category: str
    partitioned: bool
    bytes: int
    """The size of the whole table."""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.schema, self.table, self.column)

    @property
    def personal(self) -> bool:
        """Whether it can hold a person's words, address or place. Of a type that nobody knows: yes."""
        return self.category not in _PLAIN_CATEGORIES and self.kind not in _PLAIN_KINDS

    def takes(self, rule: MaskRule) -> bool:
        """Whether the rule's value fits the type."""
        match rule:
            case "keep" | "null":
                return True
            case "json":
                return self.kind in JSON_KINDS
            case "email" | "name" | "phone" | "hash":
                return self.category == "S" or self.kind in (*JSON_KINDS, "bytea", "uuid")


def expression(column: Column, rule: MaskRule | None, salt: str) -> str:
    """What production is asked for in place of the column. The rule must be one that the column takes."""
    name = quoted(column.column)
    if rule is None or rule == "keep":
        return name
    if rule == "null":
        return f"NULL::{column.type}"
    if not column.many:
        return f"({_masked(name, column, rule, salt)})::{column.type}"
    one = _masked("value", column, rule, salt)
    values = f"unnest({name}) WITH ORDINALITY AS each(value, place)"
    return (
        f"CASE WHEN {name} IS NOT NULL THEN"
        f" coalesce((SELECT array_agg({one} ORDER BY place) FROM {values}), '{{}}')"
        f"::{column.type} END"
    )


def _masked(value: str, column: Column, rule: MaskRule, salt: str) -> str:
    hashed = f"encode(sha256(convert_to('{salt}' || {value}::text, 'UTF8')), 'hex')"
    match rule:
        case "json":
            return _shape(value)
        case "email":
            masked = f"left({hashed}, 16) || '@example.invalid'"
        case "name":
            masked = f"'Person ' || left({hashed}, 8)"
        case "phone":
            # No country begins with 999.
            masked = (
                f"'+999' || lpad((('x' || left({hashed}, 12))::bit(48)::bigint % 10000000000)::text, 10, '0')"
            )
        case _:
            masked = hashed
    if column.kind in JSON_KINDS:
        return f"to_json({masked})::{column.kind}"
    if column.kind == "bytea":
        return f"convert_to({masked}, 'UTF8')"
    return f"left({hashed}, 32)" if column.kind == "uuid" else masked


def _shape(value: str) -> str:
    """The same document with every string replaced by "masked" and every number by 0; its keys stay.

    Each pass takes keys and strings whole and leaves a mark behind what it took, or in its place. In jsonb's
    text `": "` follows a key and stands nowhere else outside a string, and the mark never occurs.
    """
    string, mark = r'"(?:[^"\\]|\\.)*"', "chr(1)"
    text = f"regexp_replace({value}::jsonb::text, '({string}: )|{string}', '\\1' || {mark}, 'g')"
    text = f"""replace(replace({text}, '": ' || {mark}, '": '), {mark}, '"masked"')"""
    text = f"regexp_replace({text}, '({string}(?:: )?)|-?[0-9][0-9.eE+-]*', '\\1' || {mark}, 'g')"
    text = f"""replace(replace({text}, '": ' || {mark}, '": '), '"' || {mark}, '"')"""
    return f"replace({text}, {mark}, '0')::jsonb"
