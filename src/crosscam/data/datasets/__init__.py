"""Readers of data sets, one file each, and own data as tables and folders."""
