"""Loops that numba compiles for the processor of this machine, where chains of operators would be slower. They know
neither networks nor PyTorch, but the arrays that its tensors are.

A file is compiled when it is first imported, which takes some seconds, and is kept on the disk (`kept.py`).
"""
