"""One job on any backend, for the process that runs its engine: lock, open log, and what the budget must know."""
