"""Documents that are no zip: PDF, the older Office files (OLE), RTF. The newer Office files are zips."""
