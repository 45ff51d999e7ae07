"""Texts: read from files, folders and the hub, made into tokens, drawn as padded batches."""

from unweave.data.index_file import read_ids
from unweave.modalities.texts.data.examples import Text, texts
from unweave.modalities.texts.data.format import Chat, Plain
from unweave.modalities.texts.data.request import by_id
from unweave.modalities.texts.data.rows import TextRows, tokenised
from unweave.modalities.texts.data.sources import read_table

__all__ = ["Chat", "Plain", "Text", "TextRows", "by_id", "read_ids", "read_table", "texts", "tokenised"]
