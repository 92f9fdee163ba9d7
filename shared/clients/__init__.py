"""Doors to what lies outside: processes, Git, the content store, secrets, a Project's environments."""
