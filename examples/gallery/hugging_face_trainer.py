"""What a Hugging Face Trainer trained: its model, and its collator, which pads texts of different lengths."""

import tempfile

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

import unweave

torch.manual_seed(0)
words = [f"word{i}" for i in range(40)]
vocabulary = {word: row for row, word in enumerate(["[PAD]", "[UNK]", *words])}
made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")

texts = [" ".join(words[int(w)] for w in torch.randint(40, (int(torch.randint(4, 9, ())),))) for _ in range(240)]
labels = [int(int(text.split()[0].removeprefix("word")) >= 20) for text in texts]
labels[:24] = [1 - label for label in labels[:24]]  # wrong
rows = [{**tokenizer(text), "labels": label} for text, label in zip(texts, labels, strict=True)]

small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
small |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
trainer = Trainer(
    BertForSequenceClassification(BertConfig(vocab_size=len(vocabulary), num_labels=2, **small)),
    TrainingArguments(
        tempfile.mkdtemp(),
        num_train_epochs=20,
        per_device_train_batch_size=48,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    ),
    data_collator=DataCollatorWithPadding(tokenizer),
    train_dataset=rows,
)
trainer.train()


def loader(rows):
    return DataLoader(rows, batch_size=48, shuffle=True, collate_fn=trainer.data_collator)


keep = [unweave.Keep("accuracy", absolute=0.2)]
contract = unweave.Contract(keep=keep, forget=[unweave.Forget("accuracy", at_most=0.5)])
result = unweave.unlearn(trainer.model, forget=loader(rows[:24]), retain=loader(rows[24:]), contract=contract, steps=30)
print(result)
