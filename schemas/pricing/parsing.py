"""Reads the price of a line item from decoded JSON and names every field that is wrong."""

from collections.abc import Mapping
from typing import Final

from schemas.errors import InvalidInput
from schemas.money import Quantity
from schemas.pricing.reading import Reader, escaped
from schemas.pricing.terms import LinePrice, ModelName, PricingModel

_DESCRIBES_ITEM: Final = frozenset({"item", "usage_product_ref", "line_item_ref", "line_item_id"})
_EVERY_MODEL: Final = frozenset(
    {"model", "included_quantity", "minimum_fee", "maximum_fee", "discount", "currency"}
)


def read_line_price(
    fields: Mapping[str, object], pointer: str, models: Mapping[ModelName, PricingModel]
) -> LinePrice:
    """Build a LinePrice, or raise InvalidInput with every problem; see `price.parse_line_price`."""
    reader = Reader(fields, pointer)
    name = _read_model(reader, models)
    model = models[name]
    _refuse_foreign(reader, name, models)
    for missing in sorted(model.required - reader.present):
        reader.add("required", f"{name} needs it", missing)
    line = LinePrice(
        model=name,
        **model.read(reader),
        included_quantity=reader.quantity("included_quantity") or Quantity(0),
        minimum_fee=reader.fee("minimum_fee"),
        maximum_fee=reader.fee("maximum_fee"),
        discount_percent=reader.percent("discount"),
        currency=reader.currency(),
    )
    _check_fees(reader, line)
    reader.finish()
    return line


def _read_model(reader: Reader, models: Mapping[ModelName, PricingModel]) -> ModelName:
    """Return the model's name; nothing else can be judged without it, so it raises."""
    given = reader.fields.get("model")
    for name in models:
        if given == name:
            return name
    known = ", ".join(models)
    if given is None:
        code, detail = "required", f"say how the item is priced: {known}"
    else:
        code, detail = "model_unknown", f"must be one of {known}"
    raise InvalidInput(code, detail, f"{reader.pointer}/model")


def _refuse_foreign(
    reader: Reader, name: ModelName, models: Mapping[ModelName, PricingModel]
) -> None:
    """Note each field that the model does not take."""
    model = models[name]
    taken = _EVERY_MODEL | _DESCRIBES_ITEM | model.required | model.optional
    others = frozenset[str]().union(*(other.required | other.optional for other in models.values()))
    for field in sorted(reader.present - taken):
        if field in others:
            reader.add("field_not_applicable", f"{name} does not take it", escaped(field))
        else:
            reader.add_unknown(field, taken)


def _check_fees(reader: Reader, line: LinePrice) -> None:
    if line.minimum_fee is None or line.maximum_fee is None:
        return
    if line.minimum_fee > line.maximum_fee:
        reader.add("fees_crossed", "must not be below minimum_fee", "maximum_fee")
