"""Prints the commit that is live, as the portal itself answers it; prints nothing when it is down."""

import provider

if __name__ == "__main__":
    provider.have("observe")
