"""Buffers in an arena: none over another that lives, and no more than must be."""

from hypothesis import given
from hypothesis import strategies as st

from espalier.export.c.layout import Buffer, Layout, allocate, least


def buffers_of(spans: list[tuple[int, int, int]]) -> list[Buffer]:
    return [
        Buffer(f"b{i}", Layout(channels=1, height=1, width=w, row=w), first=a, last=a + n)
        for i, (w, a, n) in enumerate(spans)
    ]


spans = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9), st.integers(0, 4)), max_size=12)


@given(spans=spans, align=st.sampled_from([1, 4, 16]))
def test_what_lives_at_once_lies_apart(spans: list[tuple[int, int, int]], align: int) -> None:
    """Every pair; aligned; inside the arena, which is not below the bound."""
    buffers = buffers_of(spans)
    arena = allocate(buffers, align=align)
    for i, a in enumerate(buffers):
        assert a.offset % align == 0
        assert a.offset + a.size <= arena
        for b in buffers[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
    assert least(buffers, align=align) <= arena <= sum(-(-b.size // align) * align for b in buffers)


@given(sizes=st.lists(st.integers(1, 100), min_size=2, max_size=12))
def test_a_chain_takes_its_fullest_step(sizes: list[int]) -> None:
    """Of layers one after the other, only two values live at once."""
    buffers = buffers_of([(size, i, 1) for i, size in enumerate(sizes)])
    assert allocate(buffers, align=1) == least(buffers, align=1)
