"""A compiled model in a program of C++."""
