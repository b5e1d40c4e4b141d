"""Sentences about a run: findings, captions, an overview."""
