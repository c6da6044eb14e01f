"""What the commands do: train, evaluate, detect and export, and what those are made of."""
