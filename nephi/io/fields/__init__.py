"""Displacement fields: what their vectors mean, reading and writing."""
