"""Benchmarks: what a miss, a hit, a request and a compile cost, each beside its peers in the same run.

The command
    __main__.py              `python -m benchmarks [quick|full|100m]`: make bench-quick, bench, bench-100m
    parts.py  suite.py       which parts a suite has; how they are measured, one after the other
    sizes.py  run.py         how much of everything; what a part is given: sizes, a directory, stores
    machine.py               what it ran on

Parts
    in_process.py            a miss and a hit by the calls that serving makes, beside peers/
    request_forms.py         the other forms of a request in process
    overlay_cost.py          what suppressions and additions add to a miss
    http_side_by_side.py     the service beside bare_app.py, all kinds of requests
    stages.py                where the microseconds of a request of 1,000 digests go
    http_beside_naive.py     the service beside naive_service.py, which is as a tutorial would write it
    client_beside_redis.py   one Python client of ours, and one of Redis
    tail.py                  the slowest replies, in peace and while snapshots are swapped
    suppressing.py           how long until a suppressed digest is no match any more
    opening.py               how long until a service is ready
    memory.py                bytes an entry, memory of a worker
    list_readers.py          reading alone: VICS, NSRL and CSV
    compile_beside_sort.py   `hashwacht compile` beside `sort -u`
    beside_hfind.py          compile and lookup beside sleuthkit's hfind
    compile_100m.py          a hundred million lines

What parts are made of
    digests.py  workloads.py  stores.py      seeded random digests, requests with their replies, stores
    list_files.py                            list files as suppliers publish them
    timed_calls.py                           calls in process that are timed and checked
    processes.py  raw_http.py                commands with their peak memory, servers, sockets
    wrk.py  contest.py                       closed loops by wrk, of ours and of a rival in turns
    open_loop.py  swaps.py                   requests at their own times; swaps of snapshots under them
    errors.py                                what stops a run

What becomes of figures
    figures.py  results.py  selection.py     a figure; all of a run as JSON; finding figures by name
    table.py  report.py  plots.py            a table here; benchmarks/results: report.md and its plots
    readme_table.py                          the README's Speed table
    floors.py                                the gate: no ratio may fall below its floor in floors.json

Every part asserts that the answers it times are right and raises WrongAnswer when they are not: a fast wrong
answer is no figure. Times depend on the machine, so ratios to the baselines of the same run are what counts.
"""
