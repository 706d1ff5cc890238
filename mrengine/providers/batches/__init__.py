"""The vendors' batch APIs, with a client for each. Begin with ``client``."""
