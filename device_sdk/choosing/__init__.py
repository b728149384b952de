"""Which of several targets: ways to all of them side by side, tried, and the best one taken."""
