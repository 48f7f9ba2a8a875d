"""Millions of images on a Ray cluster: the list of them, its shards, and a part of the answers for each."""
