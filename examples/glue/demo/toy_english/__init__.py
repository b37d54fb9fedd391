"""A small stochastic grammar of English: the demo's texts and its three GLUE-shaped tasks."""
