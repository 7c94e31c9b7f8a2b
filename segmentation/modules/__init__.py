"""The blocks, each named as its paper names it."""
