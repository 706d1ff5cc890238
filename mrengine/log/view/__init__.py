"""What a log adds up to, for whoever asks: rounds, outcomes, results, calls, and whether all of it is sound."""
