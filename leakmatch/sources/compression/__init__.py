"""Single compressed streams, and the decoders that other readers use as well."""
