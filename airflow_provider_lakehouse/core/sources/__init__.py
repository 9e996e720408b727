"""Sources: decide what to read, then read it as Arrow batches. One file for each kind."""
