"""The vendors' batch APIs, one client each over the http client. Begin with ``client``."""
