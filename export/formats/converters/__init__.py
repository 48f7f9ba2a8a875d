"""Converters that want a Python environment of their own: each a script that runs there, without Pinnace.

What goes over is a program that `torch.export.save` has written, and a file comes back. `environment` starts
the scripts; no other module of this folder is imported.
"""
