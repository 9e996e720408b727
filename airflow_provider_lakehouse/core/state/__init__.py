"""State that belongs to the pipeline, kept where a crash cannot separate it from the data."""
