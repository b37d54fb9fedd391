"""Every name of fairseq that is replaced."""
