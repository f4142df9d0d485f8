"""The verbs: a function each, that takes what it needs and returns a value."""
