"""What lies between a conversation and the model's text: prompts in, thoughts, words and calls out."""
