"""GLUE: the eight tasks, their metrics, and their TSV files as fairseq binary datasets."""
