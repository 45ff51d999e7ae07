"""Every entry that outside input reaches, given thousands of damaged inputs: each ends in an answer or our error.

A fixed seed and a few cases in the suite, 2,000 of each by `make fuzz`.
"""
