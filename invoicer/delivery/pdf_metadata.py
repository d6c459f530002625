"""The metadata of a PDF that carries an e-invoice: Factur-X names its file in XMP. Pure.

Typst attaches the file, but knows only its own metadata. The PDF is extended as the format means
it: the metadata's object once more behind the end, with a table that says where it is. All bytes
before stay, so the same document gives the same file.
"""

import re
from typing import Final

_SCHEMA: Final = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
_FIELDS: Final = {
    "DocumentFileName": "The name of the embedded XML document",
    "DocumentType": "The type of the hybrid document in capital letters",
    "Version": "The actual version of the standard applying to the embedded XML document",
    "ConformanceLevel": "The conformance level of the embedded XML document",
}
_metadata: Final = re.compile(
    rb"\n(?P<number>\d+) 0 obj\n<</Length \d+(?P<head>/Type/Metadata/Subtype/XML)>>\nstream\n"
    rb"(?P<xmp>.*?)\nendstream\nendobj\n",
    re.DOTALL,
)
_trailer: Final = re.compile(
    rb"trailer\n<<(?P<entries>/Size \d+/Root [^>]*)>>\nstartxref\n(?P<table>\d+)\n%%EOF$"
)
_SCHEMAS: Final = b"<pdfaExtension:schemas><rdf:Bag>"
_END: Final = b"</rdf:RDF>"


def name_e_invoice(pdf: bytes, file_name: str, conformance: str) -> bytes:
    """Return a PDF of Typst's whose metadata says that a file in it is its e-invoice.

    Raises ValueError where the PDF is not written as Typst writes archivable ones.
    """
    metadata, trailer = _metadata.search(pdf), _trailer.search(pdf)
    if metadata is None or trailer is None or _SCHEMAS not in metadata["xmp"]:
        raise ValueError("the PDF has no metadata of the form that is known")
    xmp = metadata["xmp"].replace(_SCHEMAS, _SCHEMAS + _schema(), 1)
    xmp = xmp.replace(_END, _description(file_name, conformance) + _END, 1)
    start = len(pdf) + 1
    found = b"%b 0 obj\n<</Length %d%b>>\nstream\n%b\nendstream\nendobj\n" % (
        *(metadata["number"], len(xmp), metadata["head"], xmp),
    )
    table = b"xref\n%b 1\n%010d 00000 n\r\ntrailer\n<<%b/Prev %b>>\nstartxref\n%d\n%%%%EOF" % (
        *(metadata["number"], start, trailer["entries"], trailer["table"], start + len(found)),
    )
    return b"\n".join((pdf, found + table))


def _schema() -> bytes:
    """Describe the fields, as PDF/A wants it of fields that it does not know."""
    fields = "".join(
        '<rdf:li rdf:parseType="Resource">'
        f"<pdfaProperty:name>{name}</pdfaProperty:name>"
        "<pdfaProperty:valueType>Text</pdfaProperty:valueType>"
        "<pdfaProperty:category>external</pdfaProperty:category>"
        f"<pdfaProperty:description>{description}</pdfaProperty:description></rdf:li>"
        for name, description in _FIELDS.items()
    )
    return (
        '<rdf:li rdf:parseType="Resource">'
        "<pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>"
        f"<pdfaSchema:namespaceURI>{_SCHEMA}</pdfaSchema:namespaceURI>"
        "<pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{fields}</rdf:Seq></pdfaSchema:property></rdf:li>"
    ).encode()


def _description(file_name: str, conformance: str) -> bytes:
    return (
        f'<rdf:Description rdf:about="" xmlns:fx="{_SCHEMA}">'
        f"<fx:DocumentType>INVOICE</fx:DocumentType>"
        f"<fx:DocumentFileName>{file_name}</fx:DocumentFileName>"
        f"<fx:Version>1.0</fx:Version>"
        f"<fx:ConformanceLevel>{conformance}</fx:ConformanceLevel></rdf:Description>"
    ).encode()
