"""Containerfiles, judged as Podman's builder executes them.

The reference is the parser of openshift/imagebuilder (a fork of moby's), which Buildah and Podman link in:
`dockerfile/parser`, `shell_parser.go` and `dispatchers.go` there. Where its versions differ, the module that
meets the difference says which one it follows.
"""
