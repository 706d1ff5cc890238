"""One job on any backend: what the host asks for, and the round driver that carries it out where the engine runs.

Begin with ``driver``, the host's view, then ``round_driver``.
"""
