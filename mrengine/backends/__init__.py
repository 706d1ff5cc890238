"""Transport between the engine and workers: tasks out, messages in, and no opinion about either.

Begin with ``registry``, which names the backends that there are, then ``sequential``, the shortest of them.
"""
