"""The host's half of a run: documents and a map function in, a backend driven, outcomes out."""
