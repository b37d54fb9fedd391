"""What a model is made of: its ticket matrices by name, and fairseq's layers made lean."""
