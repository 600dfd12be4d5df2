"""What libarchive reads for us: ar, cab, cpio, ISO 9660, lha, rpm, xar, and RAR without its own library."""
