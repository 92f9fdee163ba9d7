"""The notifier's schema history."""

from shared.storage.migrations import run_environment

run_environment()
