"""The decisions of a round, without I/O: which worker runs what, what an outcome means, when it is announced.

Begin with ``protocol``, the contract with backends, then ``loop``.
"""
