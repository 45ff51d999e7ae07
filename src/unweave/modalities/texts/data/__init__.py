"""Texts: read from files, folders and the hub, made into tokens, drawn as padded batches."""

from unweave.data.index_file import read_ids
from unweave.modalities.texts.data.benchmarks import read_table
from unweave.modalities.texts.data.examples import Text, by_id, texts
from unweave.modalities.texts.data.format import Chat, Plain
from unweave.modalities.texts.data.rows import TextRows, tokenised

__all__ = ["Chat", "Plain", "Text", "TextRows", "by_id", "read_ids", "read_table", "texts", "tokenised"]
