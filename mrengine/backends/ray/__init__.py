"""Workers as actors of a Ray cluster: transport alone (docs/decisions/ray-backend.md).

``backend`` is the host's end, ``remote`` one worker as seen from there; ``actor`` is a worker from inside,
``outbox`` what it says and runs, in files that outlive its process.
"""
