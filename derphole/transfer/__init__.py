"""Files and trees on their way from one machine to the other."""
