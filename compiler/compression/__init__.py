"""Which precision and which pruning: by what they cost the task and save on the accelerator."""
