"""On disk: weights, archives of everything, and a model as data; nothing here runs code from a file."""
