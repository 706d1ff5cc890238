"""What a model is, for the host: a name or a spec becomes an address, a window, a price and its turn among others."""
