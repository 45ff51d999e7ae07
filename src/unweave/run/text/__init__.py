"""Runs on texts: their data, their models, their scores."""
