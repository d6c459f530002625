"""What was used, for people and programs to read: events one by one, and sums of them."""
