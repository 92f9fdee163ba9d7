"""The registry's rules: pure, without I/O or a clock."""
