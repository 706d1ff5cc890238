"""What survives: ``python -m bench faults``. Real kills, a disk that forgets or is full, a provider that misbehaves,
over this engine and its peers. See ``judge`` for what is counted, ``cases`` for the faults.
"""
