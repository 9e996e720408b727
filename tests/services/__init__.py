"""Real servers, started on loopback for the tests that need more than a double."""
