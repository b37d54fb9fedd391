"""One run of fairseq: its config, its folder, its data."""
