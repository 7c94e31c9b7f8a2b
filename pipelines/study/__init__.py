"""Grids of runs (systems x arms x label fractions x seeds) without DVC, and the table of what is done."""
