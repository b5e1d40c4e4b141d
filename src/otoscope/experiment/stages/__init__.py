"""The stages of a run, each a function that writes its tables and is made only when its inputs changed."""
