"""Transport between the engine and workers: tasks out, messages in, and no opinion about either.

Begin with ``registry``, which lists the backends, then ``sequential``, the shortest of them.
"""
