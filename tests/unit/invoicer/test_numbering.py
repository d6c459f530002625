"""A document's number, and its place in its contract."""

from datetime import date
from decimal import Decimal
from uuid import UUID

from invoicer.assembly import Assembly, DocumentKey
from invoicer.numbering import ContractStanding, Ready, issue_order, number_documents, ready
from schemas.drafting import ProductInput, draft_document
from tests.issued_documents import line, product

ONE, OTHER = UUID(int=1), UUID(int=2)


def assembly(
    contract: UUID, price: str, currency: str = "USD", *, month: int = 9, net_terms: str = "30"
) -> Ready:
    bought: ProductInput = product(line("Fee", {"model": "FLAT", "price": price}))
    drawn = Assembly(
        key=DocumentKey(7, UUID(int=99), contract, 0, date(2026, month, 1)),
        lead_product_ref=UUID(int=3),
        net_terms=net_terms,
        timezone="UTC",
        period_start=date(2026, month - 1, 1),
        period_end=date(2026, month, 1),
        is_complete=True,
        draft=draft_document([bought], currency),
    )
    return ready(drawn)


def test_numbers_go_on_from_the_first_in_the_order_given() -> None:
    issues = number_documents([assembly(ONE, "1"), assembly(OTHER, "1")], 41, "{year}/{number}", {})
    assert [issue.number for issue in issues] == [41, 42]
    assert [issue.document_number for issue in issues] == ["2026/41", "2026/42"]
    assert [issue.number_in_contract for issue in issues] == [1, 1]


def test_a_contract_counts_on_from_where_it_stands_and_adds_up_its_money() -> None:
    standings = {(ONE, "USD"): ContractStanding(3, Decimal("10.50"))}
    issues = number_documents([assembly(ONE, "1.05"), assembly(ONE, "2")], 1, "{number}", standings)
    assert [issue.number_in_contract for issue in issues] == [4, 5]
    assert [issue.total_in_contract for issue in issues] == [Decimal("11.55"), Decimal("13.55")]


def test_money_of_two_currencies_is_never_added() -> None:
    standings = {
        (ONE, "USD"): ContractStanding(3, Decimal("10.50")),
        (ONE, "JPY"): ContractStanding(4, Decimal(700)),
    }
    documents = [assembly(ONE, "300", "JPY"), assembly(ONE, "2"), assembly(ONE, "5", "EUR")]
    issues = number_documents(documents, 1, "{number}", standings)
    assert [issue.number_in_contract for issue in issues] == [5, 6, 7]
    assert [issue.total_in_contract for issue in issues] == [1000, Decimal("12.50"), 5]


def test_documents_issued_together_are_ordered_by_date_then_contract() -> None:
    documents = [assembly(OTHER, "1"), assembly(ONE, "2"), assembly(OTHER, "3", month=8)]
    ordered = sorted(documents, key=issue_order)
    assert [document.total for document in ordered] == [300, 200, 100]


def test_payment_upon_receipt_is_due_at_once() -> None:
    document = assembly(ONE, "1", net_terms="DUE_UPON_RECEIPT")
    [issue] = number_documents([document], 1, "{number}", {})
    assert issue.due_date == date(2026, 9, 1)
