"""From what a caller gives — text, a path, bytes, a stream, many of these — to documents."""

from mrengine.sources.jsonl import read_jsonl
from mrengine.sources.read import Reading, Source, Unreadable, documents_of, read_source
from mrengine.sources.spool import Spool, SpooledDocument

__all__ = ["Reading", "Source", "Spool", "SpooledDocument", "Unreadable", "documents_of", "read_jsonl", "read_source"]
