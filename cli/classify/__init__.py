"""`pinnace classify`: what answers, the rows that are written, what is shown."""
