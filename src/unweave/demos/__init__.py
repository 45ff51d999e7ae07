"""Demos: a request, every headline method under one contract, and how far each ends from a retrained model."""
