"""A Prisma schema taken apart: each System's part into its own file, the rest stays the Project's. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.contracts.projects import PrismaPaths
from shared.contracts.values import SystemName
from shared.prisma.blocks import Block, Fragment, read_fragment

Schema = Mapping[str, str]
"""Texts by path."""


def take_apart(
    schema: Schema, published: Mapping[SystemName, str], prisma: PrismaPaths = PrismaPaths()
) -> dict[str, str]:
    """The schema as it shall be, all of its files.

    `published` is each System's part as its release has it: what it defines moves to that System's file, with
    all that the partner wrote into it, and so do the fields that it adds to another System's model. The rest
    stays where it is, a single file as `main.prisma`. Raises ValueError for a file that cannot be read.
    """
    parts = _Parts(prisma)
    for system, text in published.items():
        for place, block in enumerate(read_fragment(prisma.fragment(system), text).blocks):
            parts.places[system, block.name] = place
            if block.extends is None:
                parts.owners[block.name] = system
            else:
                members = {member.key: (system, block.extends) for member in block.members}
                parts.added.setdefault(block.name, {}).update(members)
    for path, text in schema.items():
        parts.divide(read_fragment(path, text), prisma.main if path == prisma.single else path)
    return parts.files()


@dataclass
class _Parts:
    """What goes where."""

    prisma: PrismaPaths
    texts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """By path, each with its place among the others."""
    owners: dict[str, SystemName] = field(default_factory=dict)
    places: dict[tuple[SystemName, str], int] = field(default_factory=dict)
    """Where a System has its blocks, so that what nobody edited is as it was published."""
    added: dict[str, dict[str, tuple[SystemName, SystemName]]] = field(default_factory=dict)
    """By model and field: the System that adds it, and the one that owns the model."""

    def files(self) -> dict[str, str]:
        ordered = {path: sorted(texts, key=lambda text: text[0]) for path, texts in self.texts.items()}
        return {path: "\n\n".join(text for _, text in texts) + "\n" for path, texts in ordered.items()}

    def divide(self, fragment: Fragment, home: str) -> None:
        at = 0
        for block in fragment.blocks:
            self._put(home, fragment.lines[at : block.first])
            owner = self.owners.get(block.name)
            if block.extends is not None or owner is None:
                self._put(home, fragment.lines[block.first : block.end + 1])
            else:
                self._divide_block(fragment, block, owner)
            at = block.end + 1
        self._put(home, fragment.lines[at:])

    def _divide_block(self, fragment: Fragment, block: Block, owner: SystemName) -> None:
        moving: dict[tuple[SystemName, SystemName], list[str]] = {}
        kept = list(fragment.lines[block.first : block.line + 1])
        at = block.line + 1
        for member in block.members:
            adds = self.added.get(block.name, {}).get(member.key)
            (moving.setdefault(adds, []) if adds else kept).extend(fragment.lines[at : member.line + 1])
            at = member.line + 1
        rest = fragment.lines[at : block.end + 1]
        self._put(self.prisma.fragment(owner), [*kept, *rest], self.places[owner, block.name])
        for (system, extended), moved in moving.items():
            reopened = [f"/// @extends {extended}", f"{block.kind} {block.name} {{", *moved, "}"]
            self._put(self.prisma.fragment(system), reopened, self.places[system, block.name])

    def _put(self, path: str, lines: Sequence[str], place: int = 0) -> None:
        if text := "\n".join(lines).strip("\n"):
            self.texts.setdefault(path, []).append((place, text))
