"""fairseq optimizers of this plugin."""
