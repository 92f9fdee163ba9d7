"""Hostile archives: each is refused for its own reason or read as it was meant, at once.

Without the bounds of the outer layers a few hundred bytes stopped a service for minutes, names were installed
that no checkout has, and bytes that nobody saw were published.
"""

import gzip
import time
import unicodedata
import zlib
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.packages.archive import read_archive
from tests.security.raw_tar import END, extended, header, member, packed, padded, pax, record

CPU_S_MAX = 0.5
FOUND = member(b"files/x", b"hello")


def verdict(data: bytes) -> str:
    """`read`, or the reasons of the refusal; never slow, and no other error."""
    refusals: tuple[Refusal, ...] = ()
    began = time.thread_time()
    try:
        read_archive(data)
    except Reject as rejected:
        refusals = rejected.refusals
    assert time.thread_time() - began < CPU_S_MAX
    assert all(each.cure and len(each.reason) < 500 for each in refusals)
    return "; ".join(each.reason for each in refusals) or "read"


EXTENSIONS = {b"x": "more than 4096", b"g": "more than 4096", b"L": "more than 4096"}


@pytest.mark.parametrize(
    ("kind", "size", "filling"),
    list(product(EXTENSIONS, (4097, 65536, 1 << 20), (b"1", b" ", b"9 ", b"=\n"))),
)
def test_a_large_extended_header_is_refused_before_it_is_parsed(
    kind: bytes, size: int, filling: bytes
) -> None:
    """Digits took quadratic time: 64 KiB of them seconds, 1 MiB a quarter of an hour (CVE-2024-6232)."""
    content = (filling * size)[:size]
    assert EXTENSIONS[kind] in verdict(packed(member(b"PaxHeader", content, kind=kind), FOUND))


@pytest.mark.parametrize(("kind", "filling"), list(product(EXTENSIONS, (b"1", b" ", b"9 ", b"=\n", b"0"))))
def test_a_small_extended_header_of_rubbish_is_refused_at_once(kind: bytes, filling: bytes) -> None:
    data = packed(member(b"PaxHeader", filling * (4096 // len(filling)), kind=kind), FOUND)
    assert verdict(data) != "read"


@pytest.mark.parametrize("kinds", list(product((b"x", b"g", b"L"), repeat=2)))
def test_two_extended_headers_before_one_member_are_refused(kinds: tuple[bytes, bytes]) -> None:
    extensions = [
        member(b"x", b"files/y\0", kind=kind)
        if kind == b"L"
        else pax({"path": "files/y"} if kind == b"x" else {"comment": "x"}, kind)
        for kind in kinds
    ]
    assert "more than one extended header" in verdict(packed(*extensions, FOUND))


@pytest.mark.parametrize(
    "records",
    [
        b"12 path=a\n",
        b"5 path=files/a\n",
        b"-9 path=a\n",
        b"09 path=a\n",
        b"0x9 path=a\n",
        b"\xd9\xa9 path=a\n",
        b"9 path=a ",
        b"9  path=a\n",
        b"8 =aaaa\n",
        b"7 path\n",
        b"99999999999999999999 path=a\n",
        record("path", "files/a") * 2,
        record("path", "files/a")[:-1],
        record("path", "files/a") + b"\0",
        record("size", "6"),
        record("size", "-5"),
        record("size", "5.0"),
        record("size", "0x5"),
        record("size", "\u0665"),
        record("size", "9" * 400),
        record("path", b"files/\xff"),
        record("path", "files/a\0b"),
        record("path", ""),
        record("path", "../a"),
        record("GNU.sparse.major", "1"),
        record("GNU.sparse.map", "0,1"),
    ],
)
def test_an_extended_header_that_lies_is_refused(records: bytes) -> None:
    assert verdict(packed(extended(records), FOUND)) != "read"


@pytest.mark.parametrize("key", ["path", "size", "linkpath", "GNU.sparse.name"])
def test_a_global_header_decides_nothing_of_single_members(key: str) -> None:
    assert "global header" in verdict(packed(pax({key: "5"}, b"g"), FOUND))


@pytest.mark.parametrize(
    "kind", [bytes([each]) for each in range(0x30, 0x7F) if bytes([each]) not in b"05xgL"]
)
def test_only_files_and_folders_are_taken(kind: bytes) -> None:
    """Links, devices, sparse files, volumes, and each kind that somebody may yet define."""
    assert "only regular files" in verdict(packed(member(kind=kind)))


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_what_has_no_content_brings_none(kind: bytes) -> None:
    assert "content" in verdict(packed(member(b"files/x", b"hello", kind=kind)))


SIZES = {
    "negative in base 256": b"\xff" * 12,
    "nearly negative": b"\x81" + bytes(11),
    "huge in base 256": b"\x80" + b"\xff" * 11,
    "huge in octal": b"77777777777\0",
    "signed": b"-0000000005\0",
    "plus": b"+0000000005\0",
    "decimal": b"00000000009\0",
    "letters": b"0000000000a\0",
    "split": b"0000 0000005",
    "underscore": b"0000000_005\0",
    "unicode digit": "\u0665".encode().ljust(12, b"\0"),
    "behind the end": b"00000002000\0",
}


@pytest.mark.parametrize(
    ("size", "magic", "kind"), list(product(SIZES, ("ustar", "gnu", "old"), (b"0", b"x", b"L", b"5")))
)
def test_a_size_that_is_none_is_refused(size: str, magic: str, kind: bytes) -> None:
    assert verdict(packed(header(size=SIZES[size], magic=magic, kind=kind) + padded(b"hello"))) != "read"


def test_a_size_in_base_256_is_read_as_gnu_tar_writes_it() -> None:
    size = b"\x80" + (5).to_bytes(11, "big")
    data = packed(header(size=size, magic="gnu") + padded(b"hello"))
    assert read_archive(data)["files/x"].data == b"hello"


@pytest.mark.parametrize(
    "checksum", [b"\0" * 8, b"000000\0 ", b"777777\0 ", b"        ", b"-00001\0 ", b"abcdef\0 "]
)
def test_a_wrong_checksum_is_refused(checksum: bytes) -> None:
    assert "checksum" in verdict(packed(header(checksum=checksum)))


@pytest.mark.parametrize("at", [0, 99, 100, 124, 156, 257, 300, 345, 511])
def test_a_header_that_was_changed_is_refused(at: int) -> None:
    changed = bytearray(header(size=0))
    changed[at] ^= 1
    assert "checksum" in verdict(packed(bytes(changed)))


@pytest.mark.parametrize("magic", [b"ustar\x0001", b"ustar\0\0\0", b"USTAR\x0000", b"tar\0    ", b"x" * 8])
def test_another_kind_of_tar_is_refused(magic: bytes) -> None:
    assert "no kind of tar" in verdict(packed(member(magic=magic)))


@pytest.mark.parametrize("cut", [1, 511, 512, 513, 1023, 1024, 1025, 1535, 1536, 2047])
def test_a_tar_that_was_cut_is_refused(cut: int) -> None:
    whole = FOUND + END
    assert verdict(gzip.compress(whole[: len(whole) - cut])) != "read"


@pytest.mark.parametrize(
    "behind", [b"x", b"\0" * 511 + b"x", b"hidden" * 1000, member(b"files/y"), bytes(10240) + b"x"]
)
def test_bytes_behind_the_end_are_refused(behind: bytes) -> None:
    assert "behind the archive's end" in verdict(packed(FOUND, end=END + behind))


def test_bytes_that_no_reader_shows_are_refused() -> None:
    hidden = header(size=5) + padded(b"hello", b"x")
    assert "behind the content" in verdict(packed(hidden))
    assert "behind the end of a name" in verdict(packed(member(b"files/x\0hidden")))


GZIP = {
    "two members": gzip.compress(FOUND + END) + gzip.compress(b""),
    "a member each": gzip.compress(FOUND) + gzip.compress(END),
    "zeros behind": gzip.compress(FOUND + END) + bytes(8),
    "text behind": gzip.compress(FOUND + END) + b"hidden",
    "no end": gzip.compress(FOUND + END)[:-1],
    "no checksum": gzip.compress(FOUND + END)[:-8],
    "header alone": gzip.compress(FOUND + END)[:10],
    "wrong checksum": gzip.compress(FOUND + END)[:-8] + bytes(8),
    "wrong length": gzip.compress(FOUND + END)[:-4] + bytes(4),
    "zlib": zlib.compress(FOUND + END),
    "plain tar": FOUND + END,
    "twice packed": gzip.compress(gzip.compress(FOUND + END)),
    "bomb": gzip.compress(bytes(64 << 20)),
    "nothing": b"",
    "nothing packed": gzip.compress(b""),
}


@pytest.mark.parametrize("name", GZIP)
def test_only_one_whole_gzip_member_is_read(name: str) -> None:
    assert verdict(GZIP[name]) != "read"


def test_a_bomb_is_ended_long_before_it_is_unpacked() -> None:
    assert "times its size" in verdict(gzip.compress(bytes(128 << 20), 9))


NAMES = {
    "absolute": "/etc/passwd",
    "up": "files/../../x",
    "dot": "files/./x",
    "empty part": "files//x",
    "backslash": "files\\x",
    "drive": "C:/x",
    "stream": "files/x::$DATA",
    "reserved <": "files/<x",
    "reserved >": "files/x>",
    "reserved quote": 'files/"x"',
    "reserved bar": "files/a|b",
    "reserved ?": "files/x?",
    "reserved *": "files/*",
    "newline": "files/a\nb",
    "carriage return": "files/a\rb",
    "escape": "files/\x1b[31mx",
    "delete": "files/a\x7f",
    "c1": "files/a\x85",
    "right to left": "files/x\u202egnp.py",
    "isolate": "files/\u2066x\u2069",
    "left to right mark": "files/x\u200e",
    "zero width space": "files/x\u200by",
    "joiner": "files/x\u200dy",
    "byte order mark": "files/\ufeffx",
    "soft hyphen": "files/x\u00ady",
    "hangul filler": "files/\u3164",
    "half filler": "files/x\uffa0",
    "grapheme joiner": "files/x\u034f",
    "variation": "files/x\ufe0f",
    "more variation": "files/x\U000e0101",
    "mongolian": "files/x\u180e",
    "tag": "files/x\U000e0041",
    "no break space": "files/a\u00a0b",
    "ideographic space": "files/a\u3000b",
    "line separator": "files/a\u2028b",
    "blank braille": "files/\u2800",
    "private": "files/\ue000",
    "no character": "files/\ufffe",
    "decomposed": "files/e\u0301",
    "angstrom": "files/\u212b",
    "570 bytes": "files/" + "\u4e2d" * 190,
    "256 bytes": "files/" + "\u00e9" * 128,
    "long": "files/" + "a/" * 20 + "b" * 160,
    "deep": "a/" * 41 + "b",
    "trailing dot": "files/a.",
    "trailing dots": "files/a...",
    "trailing space": "files/a ",
    "trailing in a folder": "files/a./x",
    "con": "files/CON",
    "con in a folder": "files/con/x",
    "nul with a suffix": "files/nul.tar.gz",
    "aux": "files/Aux.c",
    "prn": "files/prn.txt",
    "com1": "files/com1",
    "com superscript": "files/COM\u00b9",
    "lpt superscript": "files/lpt\u00b3.txt",
    "lpt9": "files/LPT9.x",
    "console": "files/CONOUT$",
    "spaced device": "files/nul .txt",
    "wide device": "files/\uff23\uff2f\uff2e",
    "git": "files/.git/config",
    "git itself": "files/.git",
    "GIT": "files/.GIT/x",
    "git spaced": "files/.git /x",
    "git dotted": "files/.git./x",
    "git both": "files/.git . ./x",
    "git short": "files/git~1/x",
    "GIT short": "files/GIT~27",
    "git hidden": "files/.g\u200cit/config",
    "git hidden last": "files/.git\u200d",
    "git stream": "files/.git::$INDEX_ALLOCATION/x",
    "git wide": "files/.\uff47it/x",
    "modules": "files/.gitmodules",
    "modules short": "files/gitmod~1",
    "modules hash": "files/GI7EBA~1",
    "attributes": "files/.gitattributes",
    "attributes below": "files/a/.GitAttributes",
}


@pytest.mark.parametrize(("name", "folder"), list(product(NAMES, (False, True))))
def test_a_name_that_does_not_install_everywhere_is_refused(name: str, folder: bool) -> None:
    path = NAMES[name] + ("/" if folder else "")
    data = packed(pax({"path": path}), member(b"x", kind=b"5" if folder else b"0"))
    assert verdict(data) != "read"


@pytest.mark.parametrize(
    "path",
    [
        "files/a",
        "files/.env",
        "files/..a",
        "files/a b.txt",
        "files/.gitignore",
        "files/.github/x.yml",
        "files/git.py",
        "files/console.py",
        "files/com10",
        "files/nullable.py",
        "files/\u00e9t\u00e9.md",
        "files/\u4e2d\u6587.md",
        "files/\u0627\u0644.md",
        "files/\u0939\u093f.md",
        "files/" + "\u4e2d" * 85,
        "files/__init__.py",
        "files/@types/x~y.ts",
        "files/a#b&c'd(e)[f]{g}+h,i;j=k!l%m^n$o`p",
    ],
)
def test_names_that_install_everywhere_are_taken(path: str) -> None:
    assert list(read_archive(packed(pax({"path": path}), member(b"x")))) == [path]


PAIRS = {
    "twice": ("files/a", "files/a"),
    "with a dot": ("files/a", "./files/a"),
    "case": ("files/README", "files/readme"),
    "folder's case": ("files/A/x", "files/a/y"),
    "top's case": ("files/x", "Files/y"),
    "umlaut's case": ("files/\u00c4", "files/\u00e4"),
    "sharp s": ("files/stra\u00dfe", "files/strasse"),
    "ligature": ("files/\ufb01x", "files/fix"),
    "wide": ("files/\uff41", "files/a"),
    "kelvin": ("files/k", "files/\u212a"),
    "final sigma": ("files/\u03c3", "files/\u03c2"),
    "long s": ("files/\u017f", "files/s"),
    "superscript": ("files/a\u00b2", "files/a2"),
    "file and folder": ("files/a", "files/a/b"),
    "folder and file": ("files/a/b", "files/a"),
    "file and empty folder": ("files/a", "files/a/"),
    "file and folder by case": ("files/a", "files/A/b"),
    "folders by case": ("files/a/", "files/A/"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_names_that_fall_together_are_refused(name: str) -> None:
    members = [
        pax({"path": unicodedata.normalize("NFC", path)})
        + member(b"x", kind=b"5" if path[-1] == "/" else b"0")
        for path in PAIRS[name]
    ]
    assert verdict(packed(*members)) != "read"


def test_the_same_folder_may_be_named_often() -> None:
    folder = member(b"files/a/", kind=b"5")
    found = read_archive(packed(member(b"./", kind=b"5"), folder, folder, member(b"files/a/x")))
    assert list(found) == ["files/a/x"]


@pytest.mark.parametrize("magic", ["ustar", "gnu", "old"])
def test_each_kind_of_tar_is_read(magic: str) -> None:
    found = read_archive(packed(member(b"files/x", b"hello", magic=magic, mode=b"0000755\0")))
    assert (found["files/x"].data, found["files/x"].executable) == (b"hello", True)


def test_each_way_to_say_a_long_name_is_read() -> None:
    name = b"d" * 90 + b"/" + b"e" * 90
    for given_so in (
        member(b"e" * 90, prefix=b"d" * 90),
        pax({"path": name.decode()}) + member(name[:100]),
        member(b"././@LongLink", name + b"\0", kind=b"L", magic="gnu") + member(name[:100], magic="gnu"),
        pax({"comment": "of Git"}, b"g") + member(b"e" * 90, prefix=b"d" * 90),
        pax({"mtime": "-1.5", "uname": "Zo\u00eb"}) + member(b"e" * 90, prefix=b"d" * 90),
    ):
        assert list(read_archive(packed(given_so))) == [name.decode()]


@pytest.mark.parametrize("count", [10_001, 20_000])
def test_too_many_members_are_refused(count: int) -> None:
    data = packed(*(member(b"files/%d" % number) for number in range(count)))
    with pytest.raises(Reject, match="more than 10000 members"):
        read_archive(data)


def test_what_is_refused_of_ten_thousand_members_is_a_short_answer() -> None:
    with pytest.raises(Reject) as rejected:
        read_archive(packed(*(member(b"files/%d." % number) for number in range(9_000))))
    (refusal,) = rejected.value.refusals
    assert "files/0., files/1., " in refusal.reason
    assert refusal.reason.count("files/") <= 100


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_of_headers_are_anything_but_read_or_refused(data: st.DataObject) -> None:
    """Sound archives of which some bytes were changed, their checksums made right again."""
    blocks = bytearray(pax({"path": "files/long"}) + FOUND + member(b"files/y", b"x" * 600) + END)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(blocks) - 1))
        blocks[at] = data.draw(st.sampled_from([0, 0x20, 0x30, 0x37, 0x39, 0x80, 0xFF, 0x78]))
    for start in range(0, len(blocks) - 1024, 512):
        if data.draw(st.booleans()):
            sums = sum(blocks[start : start + 148]) + 256 + sum(blocks[start + 156 : start + 512])
            blocks[start + 148 : start + 156] = b"%06o\0 " % sums
    verdict(gzip.compress(bytes(blocks)))
