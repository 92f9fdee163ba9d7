"""The registry: what is published, which Projects there are, and what each of them pins.

Reads: release, project and version-map commands.
Writes: release, project and version-map events.
Owns: releases, projects, version maps, their history and holds.
"""
