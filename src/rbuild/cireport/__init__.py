"""What commands found, for build servers: JUnit XML, and GitHub's workflow commands."""
