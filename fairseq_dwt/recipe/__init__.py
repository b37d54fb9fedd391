"""Two settings turn any fairseq recipe into a ticket run: its task, model and criterion stay."""
