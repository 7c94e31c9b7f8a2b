"""What teaches from unlabeled images: one file per published method."""
