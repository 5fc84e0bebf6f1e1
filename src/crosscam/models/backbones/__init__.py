"""Backbones: from images to a feature map."""
