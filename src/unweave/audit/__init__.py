"""Evidence over several trainings: train what is missing, score everything, say in `evidence.json` what it means.

collect            `unweave evidence`, from a recipe to `evidence.json`, part by part; `estimate` says what it will cost
experiment         which models a recipe takes, from which seeds, and what is read of them; `own`, a run that is there
models, seen       one model of a kind, and what it says of every example; `work` does many in several processes
shared             several processes that share each unlearning, as torchrun starts them
evidence_parts     the parts of `evidence.json` as plain data: over_runs, attacks, robustness
findings, claims   what each part says of the method, and the strongest claim that all of them support
attacks, runs      the statistics themselves, functions of arrays of scores; `robustness`, of models
canaries           `unweave audit`: coins before the training, an exact test after unlearning
"""
