"""The demonstration: a month of usage of eight customers, from events to invoices."""
