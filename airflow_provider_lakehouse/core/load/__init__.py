"""Loading: bring a table to what a batch says, once."""
