"""Loaders of files that are no text: functions from an open file to pieces. They import what they need when called."""
