"""In which order things go and come back: what stands on others goes first, and comes back last. Pure."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from services.executor.domain.things import Shape, Thing

_ORDER = (
    "policy", "trigger", "rule", "view index", "view", "materialized view", "foreign key", "index",
    "statistics", "constraint", "column", "table", "function", "aggregate", "sequence", "enum", "domain",
    "range", "composite", "extension", "schema",
)  # fmt: skip
_FOUNDATIONS = _ORDER[_ORDER.index("table") + 1 :]
_VIEWS = ("view", "materialized view")
_ROUTINES = ("function", "aggregate")
_OF_VIEWS = ("trigger", "rule", "view index")


def in_order(things: Sequence[Thing], shape: Shape) -> list[Thing]:
    """As they can be dropped in that shape; the other way round they can be made."""
    above: dict[Thing, list[Thing]] = {}
    ordered = sorted(things, key=lambda each: (_ORDER.index(each.kind), each))
    for each in ordered:
        for under in shape[each].below:
            above.setdefault(under, []).append(each)
    found: dict[Thing, None] = {}
    entered: set[Thing] = set()
    waiting: list[Thing] = list(reversed(ordered))
    while waiting:
        thing = waiting[-1]
        first = [each for each in above.get(thing, ()) if each not in entered] if thing not in entered else []
        entered.add(thing)
        if first:
            waiting += reversed(first)
        else:
            found[waiting.pop()] = None
    return list(found)


def founds(thing: Thing, shape: Shape) -> bool:
    """True for what comes back before tables do: columns may be of it, and call it."""
    return thing.kind in _FOUNDATIONS and not any(
        each.kind in (*_VIEWS, "table", "column") for each in _all_below(thing, shape)
    )


def _all_below(thing: Thing, shape: Shape) -> Iterator[Thing]:
    seen: set[Thing] = set()
    waiting = [thing]
    while waiting:
        each = waiting.pop()
        more = shape[each].below - seen if each in shape else frozenset()
        seen |= more
        waiting += more
        yield from more


def above(going: AbstractSet[Thing], before: Shape, after: Shape) -> list[Thing]:
    """The views and routines that stand on what goes or changes, and whatever is on such a view."""
    going = {each for each in after if each not in before} | going
    found: list[Thing] = []
    while True:
        here = [each for each in after if each in before and each not in going]
        standing = [each for each in here if after[each].below & going or view_of(each, after) in going]
        if not standing:
            return found
        going |= set(standing)
        found += [each for each in standing if each.kind in (*_VIEWS, *_ROUTINES, *_OF_VIEWS)]


def view_of(thing: Thing, shape: Shape) -> Thing | None:
    """The view of whom it is a trigger, a rule or an index; none for what is a table's."""
    if thing.kind not in _OF_VIEWS:
        return None
    found = [Thing(kind, thing.schema, "", thing.table) for kind in _VIEWS]
    return next((each for each in found if each in shape), None)
