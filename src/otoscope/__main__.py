"""``python -m otoscope`` is ``otoscope``."""

from otoscope.cli import main

main()
