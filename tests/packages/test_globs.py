"""Patterns match what the plain expression of each matches, and none makes a long search."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from shared.packages.globs import matched, matching

_MEANINGS = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
_PATTERNS = st.lists(
    st.sampled_from(("a", "b", "/", "é", "\n", ".", "[", "*", "**", "**/", "?")), max_size=7
).map("".join)
_PATHS = st.text("ab/é\n.[*\ud800", max_size=9)


def _plainly(pattern: str, path: str) -> bool:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    expression = "".join(_MEANINGS.get(piece) or re.escape(piece) for piece in pieces)
    return re.fullmatch(expression, path) is not None


@given(st.lists(_PATTERNS, max_size=3), st.lists(_PATHS, max_size=5, unique=True))
def test_a_pattern_means_what_its_expression_says(patterns: list[str], paths: list[str]) -> None:
    wanted = {path for path in paths if any(_plainly(pattern, path) for pattern in patterns)}
    assert matched(patterns, paths) == wanted
    useful = {pattern for pattern in patterns if any(_plainly(pattern, path) for path in paths)}
    assert matching(patterns, paths) == useful


def test_wildcards_know_folders() -> None:
    paths = ["a.ts", "src/a.ts", "src/x/a.ts", "src/b.js"]
    assert matched(["*.ts"], paths) == {"a.ts"}
    assert matched(["**/*.ts"], paths) == {"a.ts", "src/a.ts", "src/x/a.ts"}
    assert matched(["src/**"], paths) == set(paths[1:])
    assert matched(["src/?.js", "nothing"], paths) == {"src/b.js"}


def test_many_paths_are_searched_in_several_batches() -> None:
    paths = [f"{number:04}/{'a' * 100}" for number in range(2_000)]
    assert matched(["*7/a**"], paths) == {path for path in paths if path[3] == "7"}


def test_the_worst_pattern_takes_a_moment() -> None:
    """Three wildcards over one path of 200 characters took 13 ms, and a package has 10,000 paths."""
    paths = [f"{'a' * 190}{number}" for number in range(1_000)]
    for search in (matched, matching):
        before = time.thread_time()
        assert not search(["**a**a**b"], paths)
        assert time.thread_time() - before < 0.5
