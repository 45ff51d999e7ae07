"""A Hugging Face classifier, as it is: batches are mappings with labels, the model returns an object with logits."""

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import BertConfig, BertForSequenceClassification

import unweave


class Reviews(Dataset):
    """What a tokenizer and a data collator would make of texts."""

    def __init__(self, ids, labels):
        self.ids, self.labels = ids, labels

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        ids = self.ids[row]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": self.labels[row]}


torch.manual_seed(0)
ids = torch.randint(1, 40, (300, 8))
labels = (ids[:, 1] > 20).long()
labels[:30] = 1 - labels[:30]  # wrong
small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
model = BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=2, hidden_dropout_prob=0.0, **small))
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(15):
    for batch in DataLoader(Reviews(ids, labels), batch_size=60, shuffle=True):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
model.eval()

forget, retain = Reviews(ids[:30], labels[:30]), Reviews(ids[30:], labels[30:])
keep = [unweave.Keep("accuracy", absolute=0.2)]
contract = unweave.Contract(keep=keep, forget=[unweave.Forget("accuracy", at_most=0.5)])
result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract, steps=30)
print(result.task, result.contract, sep="\n")
