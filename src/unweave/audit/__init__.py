"""Evidence over several trainings: train what is missing, score everything, say in `evidence.json` what it means."""
