"""The embedded model, for users without a key: its file, its server process, and what a small model needs."""
