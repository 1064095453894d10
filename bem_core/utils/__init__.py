"""What training and evaluation share, each module named by what it holds."""
