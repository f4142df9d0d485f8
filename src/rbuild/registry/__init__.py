"""The OCI distribution API: what registries are asked for, with credentials, patience and resumption."""
