"""Outcomes as tables: rows, a data frame, files. The names of their columns stand here."""
