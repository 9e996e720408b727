"""Sources: decide what to read, then read it as Arrow batches. A folder or a file for each kind."""
