"""A map function's identity and its way to the workers, for the host: its name, its digest, how it travels.

Begin with ``describe``. ``digest`` makes the version, out of ``hash_values``, ``hash_code`` and ``hash_classes``;
``pickling`` makes the function travel, ``modules`` finds what to import before the workers are forked.
"""
