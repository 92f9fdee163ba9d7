"""A program: reads {"patterns": […], "text": …} and prints each line that matches, with its number.

Ends with 0 when no line does, with 1 when one does, and with 2 when a pattern is no regular expression.
"""

import json
import re
import sys

_LINES_MAX = 15
_LINE_CHARACTERS = 200


def main() -> int:
    given = json.load(sys.stdin)
    try:
        patterns = [re.compile(pattern) for pattern in given["patterns"]]
    except re.error as error:
        print(f"{error.pattern!r} is no Python regular expression: {error}")
        return 2
    matches = [
        (number, line)
        for number, line in enumerate(given["text"].splitlines(), start=1)
        if any(pattern.search(line) for pattern in patterns)
    ]
    if not matches:
        return 0
    print("one line matches:" if len(matches) == 1 else f"{len(matches)} lines match:")
    for number, line in matches[:_LINES_MAX]:
        print(f"line {number}: {line[:_LINE_CHARACTERS]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
