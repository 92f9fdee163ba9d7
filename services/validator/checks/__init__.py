"""One file per kind of check; each says what it saw, and none decides what follows from it."""
