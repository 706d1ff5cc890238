"""Workers as actors of a Ray cluster: transport alone (docs/decisions/ray-backend.md).

``backend`` is the host's end, ``remote`` one worker as seen from there; ``actor`` is a worker from inside, ``outbox``
has the files in which its messages outlive its process.
"""
