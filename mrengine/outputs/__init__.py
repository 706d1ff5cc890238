"""Outcomes as tables: rows, a data frame, files. It owns the names of their columns."""
