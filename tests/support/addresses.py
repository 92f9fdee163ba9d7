"""Addresses that an attack names and that nothing of ours may bind; so they are put together here."""

EVERY_IPV4 = ".".join("0000")
EVERY_IPV6 = "::"
