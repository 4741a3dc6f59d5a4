"""The verbs: parse, call one function, draw progress, print."""
