"""A recipe: one run as strict YAML, every fault told at once with its line.

`yaml_lines` reads the YAML and knows the line of every key. `recipe` and `sections` are what every recipe has, and
`contract` and `evidence` sections of their own; a modality adds its keys (`modalities/*/recipe.py`), and
`modalities.read` chooses by `data.source`. `open_sections` checks method, step and training, whose keys are those of a
function; `steps` are the steps. `faults` puts into words what was found.
"""
