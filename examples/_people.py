"""What the example on texts starts from: a small language model that knows people, and a request to forget some."""

from unweave.modalities.texts.data.people import people
from unweave.modalities.texts.training import TextTraining, as_tokens, trained_model, trained_tokenizer

world = people(30, share=0.1, seed=0)
how = TextTraining(epochs=12)
tokenizer = trained_tokenizer([*world.forget, *world.kept], how)
forget, retain = as_tokens(world.forget, tokenizer), as_tokens(world.kept, tokenizer)
model = trained_model(as_tokens([*world.forget, *world.kept], tokenizer), tokenizer, how)
