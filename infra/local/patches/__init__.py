"""What is replaced inside the embedded AWS, each part our own text, each behind a checked seam."""
