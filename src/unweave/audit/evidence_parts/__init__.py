"""The evidence card: what several models of each kind say together, as plain data for `evidence.json`."""
