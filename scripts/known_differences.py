"""Where LeakMatch and other programs differ, and why; for compare_listings.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """Why ``tool`` and LeakMatch differ in files of this name; ``kind`` as in ``Difference`` there.

    ``needs``: what LeakMatch itself must say about the file for the reason to hold.
    """

    pattern: str
    tool: str
    kind: str
    reason: str
    needs: str = ""


#: Named limits of the readers, theirs and ours; each reason was checked in the file itself. What is a defect of
#: LeakMatch has no place here. ``*`` stands for anything.
KNOWN: tuple[Known, ...] = (
    Known(
        "test_empty.*",
        "bsdtar",
        "more",
        "takes a stream of nothing for an archive of nothing; LeakMatch has a row for the empty content",
    ),
    Known(
        "test_compat_lzip_3.lz",
        "bsdtar",
        "more",
        "takes a stream of nothing for an archive of nothing; LeakMatch has a row for the empty content",
    ),
    Known(
        "test_compat_solaris_tar_acl.tar",
        "bsdtar",
        "more",
        "hides the records of access rights; LeakMatch has a row for each",
    ),
    Known("test_read_format_ar.ar", "7zz", "more", "hides the table of long names"),
    Known("_rpm.rpm", "7zz", "missing", "lists the cpio inside; LeakMatch goes on to its members"),
    Known(
        "test_read_format_cpio_symlink_trailer.cpio",
        "bsdtar",
        "missing",
        "lists the end mark, which is written as a link here",
    ),
    Known(
        "test_read_format_gtar_sparse_1_17_posix*.tar",
        "7zz",
        "missing",
        "shows the placeholder names of sparse files; LeakMatch shows the real ones",
    ),
    Known(
        "test_read_format_iso_joliet_utf16be_overflow.iso",
        "7zz",
        "closed",
        "libarchive, which reads it for LeakMatch, stops at a name that is too long",
    ),
    Known(".mtree", "bsdtar", "closed", "a list of files in text, without their content; LeakMatch reads it as a text"),
    Known("courB08.pil", "bsdtar", "closed", "takes any text for a list of files (mtree)"),
    Known("fli_oob/02r/reproducing", "bsdtar", "closed", "takes any text for a list of files (mtree)"),
    Known("test_read_format_tar_concatenated.tar", "*", "more", "stops at the first end mark; LeakMatch reads on"),
    Known("test_read_format_tar_empty_with_gnulabel.tar", "bsdtar", "more", "hides the label of the volume"),
    Known(
        "test_read_format_warc.warc",
        "bsdtar",
        "missing",
        "names records by their files; LeakMatch by their addresses, and has a row for every record",
    ),
    Known(
        "test_read_format_zip_7075_utf8_paths.zip",
        "bsdtar",
        "missing",
        "takes names from an extra field; LeakMatch those of the directory",
    ),
    Known(
        "test_read_format_zip_msdos.zip",
        "*",
        "more",
        "takes empty members for folders by a DOS attribute; LeakMatch has a row for them",
    ),
    Known(
        "hopper_lzma.tif",
        "7zz",
        "closed",
        "looks for streams anywhere in a picture; this one is the picture's own pixels",
    ),
    Known(
        "m13_gzip.fits",
        "7zz",
        "closed",
        "looks for streams anywhere in a picture; this one is the picture's own pixels",
    ),
    Known("py7zr/tests/data/bcj.bin", "7zz", "closed", "lists the sections of a program"),
    Known("py7zr/tests/data/x86.bin", "7zz", "closed", "lists the sections of a program"),
    Known(
        "test_read_format_iso_rockridge_zf_overflow.iso",
        "7zz",
        "more",
        "hides a damaged entry without a readable name; LeakMatch has a row and an incident for it",
    ),
    Known("fli_oob/patch0/00000?", "7zz", "closed", "takes numbered files for parts of one and joins them"),
    Known(
        "test_read_format_rar5_data_ready_pointer_leak.rar",
        "bsdtar",
        "closed",
        "lists from headers whose checksum is wrong; LeakMatch stops there and says so",
    ),
    Known(
        "test_read_format_rar5_decode_number_out_of_bounds_read.rar",
        "bsdtar",
        "closed",
        "lists from headers whose checksum is wrong; LeakMatch stops there and says so",
    ),
    Known(
        "test_read_format_rar5_unpacked_size_exceeds_declared.rar",
        "bsdtar",
        "closed",
        "lists from headers whose checksum is wrong; LeakMatch stops there and says so",
    ),
    Known(
        "hopper.mic",
        "7zz",
        "missing",
        "counts the two folders of a compound file as members, and writes control characters as [5]",
    ),
    Known("test_gcpio_compat_ref_nosym.*", "7zz", "more", "finds the end mark only; bsdtar lists what LeakMatch does"),
    Known("rar5-symlink-win.rar", "bsdtar", "more", "has no row for a junction; LeakMatch tells it as a link"),
    Known("test-ole-file.doc", "7zz", "missing", "writes control characters in names as [5]; the streams are the same"),
    Known("test_read_format_lha_*.lzh", "7zz", "more", "takes symbolic links for folders"),
    Known(".sfx", "bsdtar", "more", "lists nothing in this program that carries an archive, without an error"),
    Known(".part*.rar", "bsdtar", "more", "reads one volume; LeakMatch reads the whole set at its first part"),
    Known("/rar3-old.rar", "bsdtar", "more", "reads one volume; LeakMatch reads the whole set at its first part"),
    Known(".part*.rar", "bsdtar", "missing", "reads one volume; here it is read with the first part", "read with it"),
    Known(
        "/rar3-old.r0?", "bsdtar", "missing", "reads one volume; here it is read with the first part", "read with it"
    ),
    Known("test_read_format_xar_*.xar", "7zz", "missing", "lists the table of contents too, and names as stored"),
    Known("xar_doublelink.xar", "7zz", "closed", "libarchive never ends there; the item is quarantined", "quarantined"),
    Known("cab_multi.p?.cab", "7zz", "closed", "LeakMatch does not read sets of cabinets, and says so", "needs-volume"),
)
