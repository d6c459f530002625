"""Cross Industry Invoices: UN/CEFACT's XML as far as EN 16931 uses it, element by element. Pure.

Elements stand in the order that the schema wants. Amounts have the currency's digits, quantities
and prices every digit that they need; nothing is a float.
"""

from datetime import date
from decimal import Decimal
from typing import Final
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

_STANDARD: Final = "urn:un:unece:uncefact:data:standard"
_NAMESPACES: Final = {
    "rsm": f"{_STANDARD}:CrossIndustryInvoice:100",
    "ram": f"{_STANDARD}:ReusableAggregateBusinessInformationEntity:100",
    "udt": f"{_STANDARD}:UnqualifiedDataType:100",
}
for _prefix, _uri in _NAMESPACES.items():
    register_namespace(_prefix, _uri)

_DAY_FORMAT: Final = "102"
"""Of UNTDID 2379: YYYYMMDD."""


class Node:
    """An element to which others are added, by their names with the usual prefixes."""

    def __init__(self, element: Element) -> None:
        self._element = element

    @classmethod
    def root(cls) -> "Node":
        """Return an empty document."""
        return cls(Element(_name("rsm:CrossIndustryInvoice")))

    def add(self, name: str) -> "Node":
        """Add an element that has others in it."""
        return Node(SubElement(self._element, _name(name)))

    def text(self, name: str, text: str, **attributes: str) -> None:
        """Add a text; nothing where it is empty, which the schema would refuse."""
        if kept := "".join(c for c in text if c in "\n\t" or c.isprintable()).strip():
            SubElement(self._element, _name(name), attributes).text = kept

    def number(self, name: str, value: Decimal, **attributes: str) -> None:
        """Add a number with the digits that it has."""
        SubElement(self._element, _name(name), attributes).text = f"{value:f}"

    def flag(self, name: str, *, value: bool) -> None:
        """Add a yes or no."""
        indicator = self.add(name)
        indicator.text("udt:Indicator", "true" if value else "false")

    def day(self, name: str, value: date) -> None:
        """Add a day."""
        self.add(name).text("udt:DateTimeString", f"{value:%Y%m%d}", format=_DAY_FORMAT)

    def to_bytes(self) -> bytes:
        """Return the document as XML in UTF-8."""
        xml: bytes = tostring(self._element, encoding="utf-8", xml_declaration=True)
        return xml


def _name(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"
