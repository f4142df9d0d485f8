"""Debian bases: which packages a root file system needs, and how it is made of exactly those files."""
