"""`sinfonia-agent check`: looks at machine, cluster and roots, and says what is missing."""
