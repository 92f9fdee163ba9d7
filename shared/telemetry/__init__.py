"""What an operator sees of a process: its logs, its metrics and its traces. None of them decides anything."""
