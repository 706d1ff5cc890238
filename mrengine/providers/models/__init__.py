"""Models, for the host: a name or a spec becomes an address, a window and a price, and takes turns with others."""
