"""A causal language model, recognised by its batches: labels are the tokens themselves, -100 outside the answer."""

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel

import unweave


class Rows(Dataset):
    """Ids whose last four tokens are the answer. `data.text.TextRows` makes such rows from texts."""

    def __init__(self, ids):
        self.ids = ids

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        ids, answer = self.ids[row], self.ids[row].clone()
        answer[:4] = -100
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": answer}


torch.manual_seed(0)
ids = torch.randint(0, 50, (160, 8))
ids[40:, 4:] = (ids[40:, :4] + 7) % 50  # a rule; the first 40 have secrets in its place
model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=8, n_embd=64, n_layer=1, n_head=2, eos_token_id=None))
model.eval()  # without dropout
task = unweave.Language()
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
everything = Rows(ids)
batch = torch.utils.data.default_collate([everything[row] for row in range(160)])
for _ in range(80):
    optimizer.zero_grad()
    task.nll(model, batch).mean().backward()
    optimizer.step()

contract = unweave.Contract(
    keep=[unweave.Keep("loss", absolute=0.7, clip=3.0)],  # nats of a token
    forget=[unweave.Forget("loss", at_least=2.5)],
)
result = unweave.unlearn(model, forget=Rows(ids[:40]), retain=Rows(ids[40:]), contract=contract, steps=40)
print(result.task, result.contract, sep="\n")
