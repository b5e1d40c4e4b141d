"""Pages: everything of a run, or of several, in one HTML file."""
