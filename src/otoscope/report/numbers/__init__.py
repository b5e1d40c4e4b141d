"""Numbers of a run that several sentences, tables and figures share."""
