"""Measures of how well masks agree with the truth."""
