"""Transport between the engine and workers: tasks out, messages in, and no opinion about either."""
