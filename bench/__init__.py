"""Speed, as ratios in one run: against a floor or a peer that is measured just beside it."""
