"""Shared foundations: errors, devices, layers, hooks and drawing. Imports torch and numpy only."""
