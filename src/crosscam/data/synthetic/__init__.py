"""Drawn pedestrians: the dataset that needs no download."""
