"""The words of mask rules, as a schema's comments say them: `/// @mask email`. Pure."""

from typing import Literal, get_args

from shared.prisma.blocks import Member

MaskRule = Literal["email", "name", "phone", "hash", "json", "null", "keep"]
RULES: tuple[MaskRule, ...] = get_args(MaskRule)


def mask_word(member: Member) -> str | None:
    """The word behind a field's last `@mask`, whatever it is; empty behind one that says nothing."""
    said = [note.split()[1:] for note in member.annotations if note.split()[0] == "@mask"]
    return " ".join(said[-1][:1]) if said else None
