"""mrengine: run a function over documents of any size, and never lose or pay twice for what was finished."""
