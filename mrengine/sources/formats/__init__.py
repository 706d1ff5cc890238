"""Loaders of files that are no text: one module a format, each with ``load(binary)``. They import what they need."""
