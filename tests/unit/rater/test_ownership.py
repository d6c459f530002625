"""Sharing: any crowd of members comes to rest with every partition at one of them, evenly."""

from hypothesis import given
from hypothesis import strategies as st

from rater.ownership import share


def test_one_takes_all_and_a_second_is_left_its_half() -> None:
    assert share({"a": []}, "a", range(4)) == {0, 1, 2, 3}
    assert share({"a": [0, 1, 2, 3], "b": []}, "b", range(4)) == set()
    assert share({"a": [0, 1, 2, 3], "b": []}, "a", range(4)) == {0, 1}
    assert share({"a": [0, 1], "b": []}, "b", range(4)) == {2, 3}


def test_a_partition_that_is_no_more_is_dropped() -> None:
    assert share({"a": [0, 7]}, "a", range(2)) == {0, 1}


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.integers(0, 11)), min_size=1),
    st.integers(1, 12),
    st.randoms(),
)
def test_shares_come_to_rest(held: dict[str, list[int]], count: int, chance: object) -> None:
    partitions = range(count)
    members: dict[str, list[int]] = {}
    taken: set[int] = set()
    for name, wanted in held.items():
        members[name] = sorted(set(wanted) - taken)
        taken |= set(wanted)
    for _ in range(3):
        for name in sorted(members):
            members[name] = sorted(share(members, name, partitions))
            everything = [p for own in members.values() for p in own]
            assert len(everything) == len(set(everything)), "nobody takes what another holds"
    sizes = [len(own) for own in members.values()]
    assert sorted(p for own in members.values() for p in own) == list(partitions)
    assert max(sizes) - min(sizes) <= 1
    assert all(share(members, name, partitions) == set(own) for name, own in members.items())
