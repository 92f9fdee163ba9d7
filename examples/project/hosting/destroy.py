"""Stops the environment and removes everything of it; where there is nothing, nothing happens."""

import provider

if __name__ == "__main__":
    provider.have("destroy")
