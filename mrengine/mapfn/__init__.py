"""Map functions, for the host: their identity, and their way to the workers.

Begin with ``describe``. ``digest`` makes the version, by ``hash_values``, ``hash_code`` and ``hash_classes``;
``pickling`` sends the function, ``modules`` finds the packages to import before the workers are forked.
"""
