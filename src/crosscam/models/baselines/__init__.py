"""The systems that RRID is compared with, one file each."""
