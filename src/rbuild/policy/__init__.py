"""What a project allows: rules, policies that turn them on, findings, and who waived what until when."""
