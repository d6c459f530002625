"""Parts that people take off a document add up to it, tax and all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.crediting import Creditable, take_off
from schemas.errors import Conflict


@given(st.data(), st.integers(1, 10**12))
def test_parts_add_up_to_the_document_and_never_to_more(data: st.DataObject, total: int) -> None:
    tax = data.draw(st.integers(0, total))
    total_left, tax_left = total, tax
    for asked in data.draw(st.lists(st.integers(1, total), max_size=8)):
        document = Creditable(total, tax, total_left, tax_left)
        if asked > total_left:
            with pytest.raises(Conflict):
                take_off(document, asked)
            continue
        part = take_off(document, asked)
        assert part.amount == asked
        assert 0 <= part.tax <= part.amount
        total_left, tax_left = total_left - part.amount, tax_left - part.tax
        assert 0 <= tax_left <= total_left
    if total_left:
        rest = take_off(Creditable(total, tax, total_left, tax_left), None)
        assert rest == (total_left, tax_left)
        total_left = tax_left = 0
    with pytest.raises(Conflict, match="document_credited"):
        take_off(Creditable(total, tax, total_left, tax_left), None)


def test_tax_is_the_amounts_share_rounded_once() -> None:
    assert take_off(Creditable(11_900, 1_900, 11_900, 1_900), 5_950) == (5_950, 950)
    assert take_off(Creditable(11_900, 1_900, 11_900, 1_900), 100) == (100, 16)
