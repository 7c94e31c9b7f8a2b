"""Images (and masks) to masks."""
