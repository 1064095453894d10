"""bem-migrate: codemods, configuration deduplication and differential verification for research repositories."""
