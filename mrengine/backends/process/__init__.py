"""The backend of processes: a supervisor owns the log and a pool of forked workers.

Begin with ``supervisor``. The host's end is ``driver`` over ``supervisor_handle``; a worker is ``worker``, from both
ends, with ``slots`` inside it; ``framing`` has the bytes between all of them.
"""
