"""The embedded dataset: anatomy and scanner physics."""
