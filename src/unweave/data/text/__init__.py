"""Texts: read from files, folders and the hub, made into tokens, drawn as padded batches."""

from unweave.data.index_file import read_ids
from unweave.data.text.examples import Text, texts
from unweave.data.text.format import Chat, Plain
from unweave.data.text.request import by_id
from unweave.data.text.rows import TextRows, tokenised
from unweave.data.text.sources import read_table

__all__ = ["Chat", "Plain", "Text", "TextRows", "by_id", "read_ids", "read_table", "texts", "tokenised"]
