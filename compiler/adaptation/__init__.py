"""Recovery and adaptation: weights trained at the integers that the program computes."""
