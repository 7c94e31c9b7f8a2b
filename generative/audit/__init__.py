"""Fidelity and memorization: the gate."""
