"""The notifier: tells each Project what is out that concerns it.

Reads: release, project and version-map events.
Writes: notification events.
Owns: each Project's inbox, and what it needs to know of releases and pins to fill it.
"""
