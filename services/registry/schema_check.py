"""Prisma's own verdict on a package's fragment, beside the fragments of others that it refers to."""

from services.registry.domain.gate import Library
from shared.clients.content import ContentStore
from shared.contracts.refusals import Refusal
from shared.errors import Reject, Retry
from shared.packages.package import SCHEMA, Package, read_package
from shared.prisma.blocks import Unreadable, read_fragment
from shared.prisma.parser import InvalidSchema, PrismaSchema
from shared.prisma.unified import unify
from shared.reading.readers import ReaderEnded, readers
from shared.reading.twice import GivenUp, read_twice


class SchemaCheck:
    """Judges fragments; what others have published comes from the content store."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._prisma = PrismaSchema()

    async def refusals(self, package: Package, library: Library) -> tuple[Refusal, ...]:
        """Every error and dispute that has a side in this package's fragment, by its line.

        Raises `Retry` when Prisma's parser, or a package that the fragment refers to, cannot be had now.
        """
        own = f"{package.system}.prisma"
        try:
            await unify(self._prisma, await self._with_others(own, package.schema, library))
        except InvalidSchema as invalid:
            found = [(each.line_in(own), each.message) for each in invalid.problems]
            return tuple(
                Refusal(
                    kind="invalid",
                    reason=f"line {line}: {message}",
                    field=SCHEMA,
                    value=package.schema.split("\n")[line - 1].strip(),
                    cure="correct the line, and check again with `upgradepath release check`",
                )
                for line, message in found
                if line is not None
            )
        except Reject as rejected:
            told = "; ".join(f"{each.reason} ({each.cure})" for each in rejected.refusals)
            raise Retry(f"no fragment can be checked: {told}") from rejected
        return ()

    async def _with_others(self, own: str, schema: str, library: Library) -> dict[str, str]:
        """The fragment, and those of the Systems whose models it and they refer to."""
        fragments = {own: schema}
        waiting = [own]
        while waiting:
            path = waiting.pop()
            for system in await _referred(path, fragments[path], library):
                other = f"{system}.prisma"
                if other not in fragments:
                    data = await self._content.get(library.packages[system])
                    fragments[other] = await _schema_of(system, data)
                    waiting.append(other)
        return fragments


async def _schema_of(system: str, data: bytes) -> str:
    """The fragment of what was published. In a child, because it may be large."""
    try:
        return await readers().read(f"system {system}", read_schema, data)
    except ReaderEnded as ended:
        raise Retry(f"the newest Release of {system} cannot be read: {ended}") from ended


def read_schema(data: bytes) -> str:
    """The fragment in a package's bytes."""
    return read_package(data).schema


async def _referred(path: str, schema: str, library: Library) -> list[str]:
    try:
        named = await read_twice(path, read_names, path, schema)
    except (Unreadable, GivenUp):
        # What cannot be read refers to nothing; the check itself says where.
        return []
    return sorted({library.owners[name] for name in named if name in library.owners})


def read_names(path: str, schema: str) -> set[str]:
    """The names that a fragment uses as types or reopens: a child calls it. Raises `Unreadable`."""
    blocks = read_fragment(path, schema).blocks
    named = {member.type for block in blocks for member in block.fields}
    return named | {block.name for block in blocks if block.extends is not None}
