"""The canonical form of images: nothing in it is left of the clock, the host or the builder."""
