"""The running of one task, in whichever process that happens: chunk text, map function, model calls, outcome.

Begin with ``task_runner``, then ``context`` (what a map function is given) and ``model_clients`` (the road of a call).
"""
