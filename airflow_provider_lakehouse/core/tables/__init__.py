"""Tables: read, write once, change, describe. A folder for each backend, and what they share."""
