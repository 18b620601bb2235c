"""Displacement fields: conventions of their vectors, readers and writers."""
