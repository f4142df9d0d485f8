"""The commands of `rbuild`: each reads arguments, calls a verb, prints what it returns."""
