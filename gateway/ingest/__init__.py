"""The hot path of a usage event, one file a step, in the order data meets them."""
