"""What summaries are made of: claims and their quotes, prompts, markers, extracts. The front door is ``summarizer``."""
