"""What lies inside of files: one module for each kind of file that is looked into."""
