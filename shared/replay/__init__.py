"""Going back over the topics: how far readers are, what they could not read, and what can be rebuilt."""
