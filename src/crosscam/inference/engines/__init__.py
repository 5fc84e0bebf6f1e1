"""Engines: one network on several runtimes."""
