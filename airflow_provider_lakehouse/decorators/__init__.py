"""Decorators: tasks written as functions."""
