"""Whose images are taken: containers-policy.json(5) and containers-registries.d(5), read and judged.

Pure: files, keys and signatures are handed in. What is not understood here is refused, never accepted.
"""
