"""The notifier: tells each Project what is out that concerns it.

reads   release, project and version-map events
writes  notification events
owns    each Project's inbox, and what it needs to know of releases and pins to fill it
"""
