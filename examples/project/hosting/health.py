"""Exits with 0 when the portal and its database answer, else with 1 and the reason."""

import provider

if __name__ == "__main__":
    provider.have("health")
