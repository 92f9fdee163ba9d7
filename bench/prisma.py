"""Prisma's parser and engine inside this process: CPU ms on the example Project and on 300 models."""

import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.result import Result
from shared.prisma.fragments import merge
from shared.prisma.migrating import diff
from shared.prisma.ownership import Unified
from shared.prisma.parser import Files, PrismaSchema

EXAMPLE = Path(__file__).parents[1] / "examples/project/prisma/schema"
_MODEL = re.compile(r"^model \w+ \{\n", re.MULTILINE)
MODELS, FRAGMENTS, REPEATS = 300, 10, 5


def many_models() -> dict[str, str]:
    """Ten fragments of thirty models; each model refers to the first of its neighbour's."""
    files = {}
    for system in range(FRAGMENTS):
        each = MODELS // FRAGMENTS
        text = "".join(_model(system, number) for number in range(each))
        to = (system + 1) % FRAGMENTS
        back = "".join(f"  by{system}_{number} M{system}_{number}[]\n" for number in range(each))
        files[f"s{system}.prisma"] = text + f"\n/// @extends s{to}\nmodel M{to}_0 {{\n{back}}}\n"
    return files


def _model(system: int, number: int) -> str:
    to = f"M{(system + 1) % FRAGMENTS}_0"
    fields = "".join(f'  /// @mask hash\n  f{at} String? @map("f_{at}")\n' for at in range(8))
    return (
        f"\nmodel M{system}_{number} {{\n  id Int @id @default(autoincrement())\n{fields}"
        f"  toId Int\n  to {to} @relation(fields: [toId], references: [id])\n\n  @@index([toId])\n}}\n"
    )


async def measure() -> list[Result]:
    """The best of five, in CPU ms of this process; the call that loads the module is not counted."""
    example = {path.name: path.read_text() for path in sorted(EXAMPLE.glob("*.prisma"))}
    return [*await _of("example", example), *await _of(f"{MODELS} models", many_models())]


async def _of(name: str, fragments: Files) -> list[Result]:
    prisma = PrismaSchema()
    merged = merge(fragments)
    assert isinstance(merged, Unified), merged
    files = dict(merged.files)
    path, text = next((path, text) for path, text in files.items() if "model " in text)
    changed = {**files, path: _MODEL.sub(r"\g<0>  added String?\n", text, count=1)}

    async def merging() -> None:
        merge(fragments)

    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "merge fragments": merging,
        "validate": lambda: prisma.validate(files),
        "official merge": lambda: prisma.merge_schemas(files),
        "DMMF": lambda: prisma.get_dmmf(files),
        "diff, one field": lambda: diff(files, changed),
        "diff, from nothing": lambda: diff({}, files),
    }
    return [Result(f"Prisma, {name}: {step}", await _best_ms(work), "CPU ms") for step, work in steps.items()]


async def _best_ms(work: Callable[[], Awaitable[object]]) -> float:
    await work()
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        await work()
        times.append(time.process_time() - began)
    return min(times) * 1000
