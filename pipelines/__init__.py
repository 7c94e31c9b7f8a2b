"""The plumbing: parameters, stages, datasets, report, flows; it knows no neural network."""
