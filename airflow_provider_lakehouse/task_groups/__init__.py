"""Task groups: whole patterns, mapped over tables."""
