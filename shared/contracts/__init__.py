"""Every message that crosses a topic, its topic, and the values inside it.

Contracts only grow: a field is added with a default, never renamed or removed, and a golden file of
every message ever released must still parse (`tests/contracts`).
"""
