"""One module for each kind of text: where its units begin."""
