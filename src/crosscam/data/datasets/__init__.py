"""Readers of datasets, one file each, and own data as tables and folders."""
