"""Builds in a network namespace where nothing but rbuild answers."""
