"""Parts of the `arrange-dram` pass: what is touched, and which banks to give it."""
