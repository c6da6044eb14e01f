"""Does Swin help? Models trained alike, scored alike, with what the differences between them are worth."""
