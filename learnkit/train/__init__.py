"""The training loop and everything that plugs into it; knows nothing of pictures, tables or text."""
