"""Archives: one package for each family of formats, with the ``reader`` that lists and opens its members."""
