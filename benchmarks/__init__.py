"""Benchmarks: what a miss, a hit, a request and a compile cost, each beside a baseline of the same run.

    quick.py                 the command: parts → table; `make bench-quick`
    sizes.py                 how much of everything; the seed
    digests.py               seeded random digests, hash lists and request bodies
    in_process.py            a miss and a hit by the call that serving makes, beside baselines.py
    http_side_by_side.py     the real service and bare_app.py in turns, driven by load.py
    compile_beside_sort.py   `hashwacht compile` and `sort -u` of the same file in turns
    memory.py                bytes an entry, private memory of a worker
    figures.py  table.py     what was measured, against which goal; how it is shown

Every part asserts that the answers it times are right and raises WrongAnswer when they are not: a fast wrong
answer is no figure. Times depend on the machine, so ratios to the baselines of the same run are what counts.
"""
