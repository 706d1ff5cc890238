"""The decisions of a round, for whoever drives one: who runs what, what an outcome means, when it is announced. No I/O.

Begin with ``protocol``, the contract with backends, then ``loop``.
"""
