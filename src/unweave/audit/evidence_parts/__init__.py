"""The parts of `evidence.json` as plain data, each from what all models say."""
