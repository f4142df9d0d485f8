"""Rules of a project's own: what an expression may look at, what it may cost, and how it is evaluated."""
