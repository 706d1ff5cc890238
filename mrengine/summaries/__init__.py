"""The parts of summaries: claims and their quotes, prompts, markers, extracts. The front door is ``summarizer``."""
