"""One file per dataset: read(root, settings) -> Dataset."""
