"""Prints the commit that is live, as the app itself answers it; prints nothing when it is down."""

import place

if __name__ == "__main__":
    here = place.folder()
    live = place.read(here)
    if live and place.is_up(here, live, within_s=2.0):
        print(live.commit)
