"""Two images held against each other: what differs, where it lies, which line made it, and why."""
