"""One call to a model, for workers: asked, retried, continued, validated, and its failures named."""
