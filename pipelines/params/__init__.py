"""One frozen model per block of params.yaml; loader.py alone reads the file."""
