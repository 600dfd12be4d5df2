"""Archives cut into several files: which files belong together, and how they are read as one."""
