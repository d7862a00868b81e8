"""Tiles for inference and patches for training: pure functions of shapes."""
