"""The wire to a model's server, for workers: connections, headers, and the shapes of OpenAI's and Anthropic's APIs."""
