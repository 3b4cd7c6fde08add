"""Models in the formats of other programs, checked before they are written."""
