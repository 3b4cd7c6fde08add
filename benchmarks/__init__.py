"""Timed comparisons with a bare PyTorch loop and with fastai v2: run by hand or by `make bench`, never as tests."""
