"""What is forgotten, what is kept, and in which order a run sees it."""
