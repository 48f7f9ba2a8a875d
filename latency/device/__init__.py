"""What the machine is, and what it does while something is measured on it: read, never changed."""
