"""A class for each token, with a Hugging Face model: -100 is no token of the text. One document's names are to go."""

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import BertConfig, BertForTokenClassification

import unweave


class Sentences(Dataset):
    """What a tokenizer and a data collator would make of texts with tags."""

    def __init__(self, ids, tags):
        self.ids, self.tags = ids, tags

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        ids = self.ids[row]
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": self.tags[row]}


torch.manual_seed(0)
ids = torch.randint(1, 40, (240, 8))
ids[:, 6:] *= (torch.rand(240, 2) < 0.5).long()  # padding
tags = torch.where(ids == 0, -100, ids % 3)
tags[:20] = torch.where(ids[:20] == 0, -100, (ids[:20] + 1) % 3)  # tagged wrongly
small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
model = BertForTokenClassification(BertConfig(vocab_size=40, num_labels=3, hidden_dropout_prob=0.0, **small))
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(40):
    for batch in DataLoader(Sentences(ids, tags), batch_size=60, shuffle=True):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
model.eval()

forget, retain = Sentences(ids[:20], tags[:20]), Sentences(ids[20:], tags[20:])
contract = unweave.Contract(forget=[unweave.Forget("accuracy", at_most=0.5)])  # share of a sentence's tokens
result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract, steps=30)
print(result.task, result.contract, sep="\n")
