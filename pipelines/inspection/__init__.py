"""The inspection page: what `prepare` and `split` made of a dataset, for eyes."""
