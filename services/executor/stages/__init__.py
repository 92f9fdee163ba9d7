"""One file per stage; beside them what several stages need."""
