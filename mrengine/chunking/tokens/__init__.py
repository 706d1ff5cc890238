"""Exact token counts, fast: the tokenizer, where tokens end, and where counts may be added up."""
