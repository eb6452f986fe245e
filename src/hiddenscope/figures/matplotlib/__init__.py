"""Prepared figures, drawn with Matplotlib outside pyplot."""
