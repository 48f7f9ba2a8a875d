"""The record of what was answered, written after the answers by a thread of each worker."""
