"""Many runs: a queue of experiments and seeds, where they are started, and what they came to."""
