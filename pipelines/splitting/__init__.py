"""Cases to train, val and test: groups, protocols, label ranks, and what a split leaks."""
