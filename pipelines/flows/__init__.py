"""Prefect: when and where; DVC keeps what."""
