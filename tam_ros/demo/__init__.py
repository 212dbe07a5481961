"""The demo: a drawn clip with known truth, a camera that plays it, the node that tracks it."""
