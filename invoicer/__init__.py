"""The consumer that turns closed periods into issued documents."""
