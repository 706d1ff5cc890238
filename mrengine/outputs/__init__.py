"""Turns outcomes into tables: rows, a data frame, files. The names of the columns are defined here."""
