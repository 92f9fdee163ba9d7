"""Acme's tests: they hold for every version of the Systems that Acme can pin."""
