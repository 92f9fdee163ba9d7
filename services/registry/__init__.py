"""The registry: what is published, which Projects there are, and what each of them pins.

reads   release, project and version-map commands
writes  release, project and version-map events
owns    releases, projects, version maps, their history and holds
"""
