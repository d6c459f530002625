"""Customers, entities, meters, products, contracts and documents over HTTP."""
