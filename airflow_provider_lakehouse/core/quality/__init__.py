"""Quality: conditions that rows and tables must meet, and what follows when they do not."""
