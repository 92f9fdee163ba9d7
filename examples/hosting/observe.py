"""Prints the commit that is live, as the portal itself answers it; prints nothing when it is down."""

import place

if __name__ == "__main__":
    live = place.read(place.folder())
    if live and place.answers(live.port, live.process, within_s=2.0):
        print(live.commit)
