"""Signatures as cosign makes them: keys, simple signing, DSSE, and the images that carry both in a registry.

Pure: random bytes and passwords are handed in. What is signed twice with one key has one signature.
"""
