"""What a lookup could be made of instead, each used in the best way that its own interface offers.

    asked.py            a peer, and the clock it is asked by
    in_memory.py        a Python set; pybloom-live as it comes
    key_per_digest.py   LMDB with a key for each digest
    sqlite.py           SQLite with a table of keys
    redis_server.py     Debian's redis-server, a process of its own
    hfind.py            sleuthkit's hfind, an index file beside an md5sum list

All hold the entries of one of our stores. Digests are handed to them as bytes objects, cut beforehand, so that they
are not charged for that; a list of what was found is all that they give: neither places nor labels.
"""
