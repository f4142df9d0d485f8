"""rbuild: container images whose digest is a function of the lockfile."""

__version__ = "0.1.0"
