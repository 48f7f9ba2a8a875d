"""Latency reports for people: one HTML file with pictures, Markdown, CSV, and an index over many reports."""
