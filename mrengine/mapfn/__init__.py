"""A map function's identity and its way to the workers, for the host: its name, its digest, how it travels.

Begin with ``digest``; ``hash_values``, ``hash_code`` and ``hash_classes`` feed it, ``pickling`` makes it travel,
``modules`` finds what to import before the workers are forked.
"""
