"""The backend of processes: a supervisor owns the log and a pool of forked workers.

Begin with ``supervisor``. ``driver`` over ``supervisor_handle`` is the host's end. ``worker`` has both ends of a
worker, and ``slots`` the threads inside it; ``framing`` defines the bytes between all of them.
"""
