"""Cold starts: a variant loaded and called in a fresh process, and what memory that process takes."""
