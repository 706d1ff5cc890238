"""The pages that quote figures, made from bench/results: ``guide.md`` becomes docs/performance.md, ``how_fast.md`` the
table of README.md. In them ``{{table NAME}}`` and ``{{plot NAME}}`` stand for what ``tables`` and ``plots`` make, and
``{{BENCH/ROW/FIELD|FORMAT}}`` for one figure: the field of the row of that result that has all values named in ROW.
"""
