"""Two or more latency reports side by side: which rows they share, how much they differ, how sure that is."""
