"""One file a pricing model, each pure."""
