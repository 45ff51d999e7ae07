"""How many models an answer needs at least, known before any is trained."""

FOR_EACH_FATE = 3
"""Models in which a record was kept, never seen or unlearned, of which U-LiRA fits a distribution each."""
FEWEST_MODELS = 3 * FOR_EACH_FATE
"""Shadows of U-LiRA: a third of them for each fate of every record."""
FEWEST_FOR_NULL = 4
"""Retrained models, two on either side, between which the gap of retraining to itself is taken."""
