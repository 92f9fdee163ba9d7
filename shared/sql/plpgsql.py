"""The SQL of a PL/pgSQL body: each statement and expression that PostgreSQL would run. Pure.

libpg_query's own reader of PL/pgSQL stops at trigger functions and at a dozen statements. This one cuts a
body where PL/pgSQL's grammar cuts it, by the tokens of PostgreSQL's scanner, and skips nothing: a token is
part of a fragment, or a word of the grammar in its place, or the body is `Unreadable`.
"""

from collections.abc import Callable

from shared.sql.body_walk import CLOSING, OPENING, BodyWalk, Fragment, is_name
from shared.sql.parsing import Unreadable

_ASSIGNS = (":=", "=")
_DIRECTIONS = ("NEXT", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "FORWARD", "BACKWARD", "ALL")
_LEVELS = frozenset(["DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "EXCEPTION"])
_OPTIONS = frozenset(["OPTION", "PRINT_STRICT_PARAMS", "VARIABLE_CONFLICT"])
_BARE = frozenset(["BEGIN", "ELSE", "LOOP", "EXCEPTION"])


def fragments_of(body: str) -> tuple[Fragment, ...]:
    """The fragments of a body, in order. Raises `Unreadable`."""
    return _Reader(body).read()


class _Reader(BodyWalk):
    def __init__(self, body: str) -> None:
        super().__init__(body)
        self._statements: dict[str, Callable[[], None]] = {
            "<<": self._label,
            "DECLARE": self._declarations,
            "END": self._end,
            "IF": lambda: self._until("expression", "THEN"),
            "ELSIF": lambda: self._until("expression", "THEN"),
            "ELSEIF": lambda: self._until("expression", "THEN"),
            "WHEN": lambda: self._until("expression", "THEN"),
            "WHILE": lambda: self._until("expression", "LOOP"),
            "CASE": self._case,
            "FOR": self._for,
            "FOREACH": self._foreach,
            "EXIT": self._exit,
            "CONTINUE": self._exit,
            "RETURN": self._return,
            "RAISE": self._raise,
            "ASSERT": lambda: self._until("expression", ";"),
            "PERFORM": lambda: self._until("expression", ";"),
            "EXECUTE": self._execute,
            "GET": self._names_only,
            "CLOSE": self._names_only,
            "NULL": self._names_only,
            "OPEN": self._open,
            "FETCH": self._fetch,
            "MOVE": self._fetch,
        }

    def read(self) -> tuple[Fragment, ...]:
        while self._word() == "#":
            # An option of the compiler: its name and its value, and on the same line may stand what runs.
            if self._word(1) not in _OPTIONS or not is_name(self._word(2)):
                raise self._no(self._at)
            self._at += 3
        while self._at < len(self._words):
            self._statement()
        return tuple(self._found)

    def _statement(self) -> None:
        word = self._word()
        assigned = self._assignment()
        if word == ";":
            self._at += 1
        elif assigned is not None:
            self._take("expression", self._at, assigned)
            self._at = assigned
            self._until("expression", ";")
        elif word in _BARE:
            self._at += 1
        elif word in self._statements:
            self._statements[word]()
        else:
            self._sql(self._at)

    def _assignment(self) -> int | None:
        """Where the sign of an assignment stands that begins here."""
        at = self._at
        if not is_name(self._word()):
            return None
        at += 1
        while at < len(self._words):
            if self._words[at] == "." and at + 1 < len(self._words):
                at += 2
            elif self._words[at] == "[":
                at = self._closing(at) + 1
            else:
                return at if self._words[at] in _ASSIGNS else None
        return None

    def _label(self) -> None:
        if self._word(2) != ">>" or not is_name(self._word(1)):
            raise self._no(self._at)
        self._at += 3

    def _end(self) -> None:
        end = self._find(self._at, ";")
        words = [each for each in self._words[self._at + 1 : end] if each not in ("IF", "CASE", "LOOP")]
        if len(words) > 1 or not all(map(is_name, words)):
            raise self._no(self._at)
        self._at = end + 1

    def _names_only(self) -> None:
        end = self._find(self._at, ";")
        self._plain(self._at, end)
        self._at = end + 1

    def _declarations(self) -> None:
        self._at += 1
        while self._word() not in ("BEGIN", ""):
            if self._word() == "DECLARE":
                self._at += 1
                continue
            end = self._find(self._at, ";")
            words = self._words[self._at : end]
            if "CURSOR" in words[1:4]:
                opened = self._find(self._at + words.index("CURSOR", 1), "FOR", "IS")
                self._take("statement", opened + 1, end)
            else:
                self._declaration(end)
            self._at = end + 1

    def _declaration(self, end: int) -> None:
        depth = 0
        for at in range(self._at + 1, end):
            word = self._words[at]
            if depth == 0 and word in (*_ASSIGNS, "DEFAULT"):
                self._take("expression", at + 1, end)
                return
            depth += (word in OPENING) - (word in CLOSING)

    def _case(self) -> None:
        end = self._find(self._at + 1, "WHEN")
        self._take("expression", self._at + 1, end)
        self._at = end

    def _for(self) -> None:
        start = self._find(self._at + 1, "IN")
        self._plain(self._at + 1, start)
        self._at = start
        if self._word(1) == "EXECUTE":
            self._at += 1
            self._dynamic("LOOP")
            return
        end = self._find(start + 1, "LOOP")
        reverse = self._words[start + 1] == "REVERSE"
        try:
            dots = self._find(start + 1, "..", "LOOP")
        except Unreadable:
            dots = end
        if dots < end:
            step = self._find(dots + 1, "BY", "LOOP")
            self._take("expression", start + 1 + reverse, dots)
            self._take("expression", dots + 1, step)
            self._take("expression", step + 1, end)
        else:
            self._take("query", start + 1, end)
        self._at = end + 1

    def _foreach(self) -> None:
        start = self._find(self._at + 1, "ARRAY")
        self._plain(self._at + 1, start)
        self._at = start
        self._until("expression", "LOOP")

    def _exit(self) -> None:
        end = self._find(self._at + 1, "WHEN", ";")
        self._plain(self._at, end)
        self._at = end
        if self._word() == "WHEN":
            self._until("expression", ";")
        else:
            self._at += 1

    def _return(self) -> None:
        match self._word(1):
            case "NEXT":
                self._at += 1
                self._until("expression", ";")
            case "QUERY" if self._word(2) == "EXECUTE":
                self._at += 2
                self._dynamic(";")
            case "QUERY":
                self._at += 1
                self._until("statement", ";")
            case _:
                self._until("expression", ";")

    def _raise(self) -> None:
        end = self._find(self._at, ";")
        at = self._at + 1
        at += self._word(1) in _LEVELS
        # A format, a condition's name or SQLSTATE with its code.
        while at < end and self._words[at] not in (",", "USING"):
            self._plain(at, at + 1)
            at += 1
        options = False
        while at < end:
            options = options or self._words[at] == "USING"
            start = at + 1
            at = self._find(start, ",", "USING", ";")
            start += (
                2 if options and self._words[start + 1 : start + 2] in ([each] for each in _ASSIGNS) else 0
            )
            self._take("expression", start, at)
        self._at = end + 1

    def _execute(self) -> None:
        self._dynamic(";")

    def _open(self) -> None:
        end = self._find(self._at, "FOR", ";")
        if end == len(self._words) or self._words[end] == ";":
            self._take("expression", self._at + 1, end)
            self._at = end + 1
            return
        self._plain(self._at, end)
        self._at = end
        if self._word(1) == "EXECUTE":
            self._at += 1
            self._dynamic(";")
        else:
            self._until("statement", ";")

    def _fetch(self) -> None:
        end = self._find(self._at, ";")
        start, into = self._at + 1, self._find(self._at, "INTO", ";")
        source = self._find(self._at, "FROM", "IN", "INTO", ";")
        if source < into:
            start += self._words[start] in _DIRECTIONS
            if start < source and self._words[start] not in _DIRECTIONS:
                self._take("expression", start, source)
            start = source
        self._plain(start, end)
        self._at = end + 1

    def _sql(self, start: int) -> None:
        """A statement of SQL without the INTO that is PL/pgSQL's, which the parser knows in SELECT only."""
        end, at, text, kept = self._end_of_sql(start), start, "", start
        imports = self._words[start] == "IMPORT"
        while at < end:
            if self._words[at] == "INTO" and self._words[at - 1] not in ("INSERT", "MERGE") and not imports:
                text += self._between(kept, at) + " "
                at = kept = self._after_targets(at + 1, end)
            else:
                at += 1
        text += self._between(kept, end)
        if text.strip():
            self._found.append(Fragment("statement", text, self._line(start)))
        self._at = end + 1

    def _end_of_sql(self, start: int) -> int:
        """Its semicolon: those of a function's own BEGIN ATOMIC … END are not it."""
        depth, blocks = 0, 0
        makes = "FUNCTION" in self._words[start : start + 4] or "PROCEDURE" in self._words[start : start + 4]
        makes = makes and self._words[start] == "CREATE"
        for at in range(start, len(self._words)):
            word = self._words[at]
            if word == ";" and depth == 0 and blocks == 0:
                return at
            depth += (word in OPENING) - (word in CLOSING)
            if makes and depth == 0:
                blocks += word == "BEGIN" or (word == "CASE" and blocks > 0)
                blocks -= word == "END" and blocks > 0
        return len(self._words)

    def _after_targets(self, at: int, end: int) -> int:
        """Where the list of variables behind INTO ends."""
        at += self._words[at : at + 1] == ["STRICT"]
        while at < end and is_name(self._words[at]):
            at += 1
            while at + 1 < end and self._words[at] == ".":
                at += 2
            if at >= end or self._words[at] != ",":
                return at
            at += 1
        raise self._no(at)
