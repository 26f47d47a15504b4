"""The digests that are measured with."""

from benchmarks.digests import FreshBatches, cut, random_digests, write_hex_list, write_packed_list


def test_a_seed_makes_the_same_digests_again_and_streams_share_none():
    one, again, other = (set(cut(random_digests(5, stream, 1_000), 1)) for stream in ("misses", "misses", "entries"))
    assert one == again
    assert len(one) == 1_000
    assert not one & other
    assert not one & set(cut(random_digests(6, "misses", 1_000), 1))


def test_no_batch_repeats_before_the_pool_is_used_up():
    pool = random_digests(5, "pool", 1_000)
    batches = FreshBatches(pool)
    taken = [digest for batch in (1, 9, 90) for body in batches.take(10, batch) for digest in cut(body, 1)]
    assert taken == cut(pool, 1)
    assert batches.take(1, 2) == [pool[:64]]


def test_lists_hold_a_line_for_each_digest(tmp_path):
    packed = random_digests(5, "list", 1_001, 16)
    write_packed_list(tmp_path / "a", packed, 16)
    assert (tmp_path / "a").read_text().splitlines() == [digest.hex() for digest in cut(packed, 1, 16)]
    first = write_hex_list(tmp_path / "b", 5, "list", 1_001, 16)
    assert first == packed
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
