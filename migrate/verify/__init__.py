"""The differential harness: two runs, each recorded from outside, and a verdict on whether they did the same."""
