"""The script that shows a failure without Pinnace."""
