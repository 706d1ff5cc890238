"""The same work as a program of each tool: ``python -m bench.peers NAME --url URL --state FOLDER --calls N``.

A program asks ``--calls`` questions of the model server at URL, 8 at a time, and keeps what it can in FOLDER; started
again with the same folder, it continues if the tool can. It prints ``done N`` for each answer that the tool has told it
of (the moment from which a user believes that it is safe), and last one line of JSON with all answers.
"""
