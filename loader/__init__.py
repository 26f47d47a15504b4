"""Hash lists in, snapshot out. `loader/build.py` is the contents page: read it first."""
