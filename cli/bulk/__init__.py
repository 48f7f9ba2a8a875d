"""Many images through one bundle: in threads, in processes, or in batches on a GPU."""
