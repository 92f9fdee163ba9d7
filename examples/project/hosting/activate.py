"""Makes this checkout the release that is live, without one failed request; prints `address=http://…`."""

import provider

if __name__ == "__main__":
    provider.have("activate", send_files=True)
