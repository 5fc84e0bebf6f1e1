"""Drawn pedestrians: the data set that needs no download."""
