"""The edge: from a request to its answer. Pure functions, and the few objects that hold state."""
