"""Text to token stream: corpora, tokenizer, memory-mapped shards, and the batch as a function of the step."""
