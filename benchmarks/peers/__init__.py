"""The servers that are compared: each in the fastest configuration its documentation and our own trials give."""
