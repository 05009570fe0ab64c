"""The control API: what an operator calls. It reads and writes the store and nothing else; edges follow the store."""
