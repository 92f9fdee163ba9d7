"""Signed papers: DSSE envelopes with in-toto statements, of packages and of what the services export."""
