"""What the pruning passes share: which axes shrink together, what a channel or block is worth."""
