"""Prints the end of the log."""

import provider

if __name__ == "__main__":
    provider.have("logs")
