"""What `pinnace export` writes and everything else reads: a folder with a manifest."""
