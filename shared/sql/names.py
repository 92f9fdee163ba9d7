"""How names are written in SQL."""


def quoted(*names: str) -> str:
    """An identifier, qualified when several names are given, quoted for SQL."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A text quoted for SQL, with standard_conforming_strings as the server has it by default."""
    return "'" + text.replace("'", "''") + "'"
