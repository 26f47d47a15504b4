"""The service: a snapshot in, answers out, over HTTP.

    service/match.py     the contents page: what happens to a batch of digests; read it first
    service/front.py     POST /v1/match as plain ASGI, around match.py
    service/app.py       the application of one worker: front, FastAPI for everything else, the watch
    service/watch.py     follows CURRENT and swaps the View, never half of one
    service/server.py    one process group behind one socket

It reads what the loader published and imports none of it. Only this package knows HTTP, settings and logs.
"""
