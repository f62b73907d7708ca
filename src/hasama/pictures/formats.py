"""What a file is that Pillow cannot read: known by its first bytes, or else by its name, and what to do with it."""

from pathlib import PurePath
from typing import Literal, NamedTuple

HEAD = 600
"""So many bytes at the beginning of a file tell what it is."""


class Format(NamedTuple):
    """A format that is not read as a picture.

    Attributes:
        name: for people, with its article: 'a HEIC photo'.
        remedy: what to do.
        kind: 'dataset' is a file that holds many pictures, but not as files.
    """

    name: str
    remedy: str
    kind: Literal["picture", "archive", "film", "dataset", "other"] = "picture"

    def __str__(self) -> str:
        return f"{self.name}: {self.remedy}"


CONVERT = "save it as PNG or JPEG first"
DEVELOP = "develop it to JPEG or PNG first, such as with darktable or RawTherapee"
UNPACK = "unpack it first"
WRITE_OUT = "write its pictures into a folder or a zip first"


def _film(name: str) -> Format:
    return Format(
        f"a film ({name})", "save its frames as pictures first, such as by  ffmpeg -i FILM %05d.png", "film"
    )


def _archive(name: str) -> Format:
    return Format(f"an archive ({name})", UNPACK, "archive")


def _dataset(name: str) -> Format:
    return Format(name, WRITE_OUT, "dataset")


def raw_photo(name: str) -> Format:
    """A camera's raw photo."""
    return Format(f"a raw photo ({name})", DEVELOP)


HEIF_ENDINGS = (".heic", ".heif", ".hif", ".heics", ".heifs")
HEIC = Format("a HEIC photo", "install its reader by  pip install 'hasama[heif]'  or save it as JPEG first")
AVIF = Format("an AVIF picture", CONVERT)
JXL = Format("a JPEG XL picture", CONVERT)
PSD = Format("a Photoshop picture (PSD) that cannot be read", CONVERT)
TIFF = Format("a TIFF of a kind that is not read", "save it as PNG, or as TIFF with 8 or 16 bits a channel, first")
WEB_PAGE = Format("a web page", "the download has failed, or needs you to log in", "other")
LFS = Format("a Git LFS pointer", "get the file itself by  git lfs pull", "other")
PYTORCH = Format("a PyTorch file", "save its pictures as .npz (uint8) or as files first", "dataset")
PICKLE = Format("a Python pickle", "save its pictures as .npz (uint8) or as files first", "dataset")
NUMPY = Format("a NumPy file", "name it alone as the source", "dataset")
PARQUET = Format("a Parquet table", "name it alone as the source", "dataset")
ARROW = Format("an Arrow table", "name it alone as the source", "dataset")

SIGNATURES: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"\xff\x0a", JXL),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
    (0, b"8BPS", PSD),
    (0, b"gimp xcf", Format("a GIMP picture (XCF)", "export it as PNG first")),
    (0, b"v/1\x01", Format("an OpenEXR picture", CONVERT)),
    (0, b"#?RA", Format("a Radiance HDR picture", CONVERT)),
    (0, b"BPG\xfb", Format("a BPG picture", CONVERT)),
    (0, b"FLIF", Format("a FLIF picture", CONVERT)),
    (0, b"II\xbc", Format("a JPEG XR picture", CONVERT)),
    (128, b"DICM", Format("a medical picture (DICOM)", CONVERT)),
    (8, b"CR\x02", raw_photo("Canon CR2")),
    (6, b"HEAPCCDR", raw_photo("Canon CRW")),
    (0, b"FUJIFILMCCD-RAW", raw_photo("Fujifilm RAF")),
    (0, b"FOVb", raw_photo("Sigma X3F")),
    (0, b"\0MRM", raw_photo("Minolta MRW")),
    (0, b"IIRO", raw_photo("Olympus ORF")),
    (0, b"IIRS", raw_photo("Olympus ORF")),
    (0, b"IIU\0", raw_photo("Panasonic RW2")),
    (0, b"%PDF", Format("a document (PDF)", "save its pages as pictures first, such as by  pdftoppm -png", "other")),
    (0, b"PAR1", PARQUET),
    (0, b"ARROW1", ARROW),
    (0, b"\x89HDF\r\n\x1a\n", _dataset("an HDF5 file")),
    (16, b"\xde\xc0\xef\xbe", _dataset("an LMDB database")),
    (0, b"SQLite format 3", _dataset("an SQLite database")),
    (0, b"MATLAB 5.0", _dataset("a MATLAB file")),
    (0, b"\x93NUMPY", NUMPY),
    (0, b"Rar!\x1a\x07", _archive("RAR")),
    (0, b"7z\xbc\xaf\x27\x1c", _archive("7z")),
    (0, b"\x1f\x8b", _archive("gzip")),
    (0, b"BZh", _archive("bzip2")),
    (0, b"\xfd7zXZ\0", _archive("xz")),
    (0, b"\x28\xb5\x2f\xfd", _archive("zstd")),
    (0, b"MSCF", _archive("CAB")),
    (257, b"ustar", _archive("tar")),
    (0, b"\x1a\x45\xdf\xa3", _film("Matroska or WebM")),
    (0, b"\0\0\x01\xba", _film("MPEG")),
    (0, b"\0\0\x01\xb3", _film("MPEG")),
    (0, b"FLV\x01", _film("FLV")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _film("WMV")),
    (8, b"AVI LIST", _film("AVI")),
    (0, b"version https://git-lfs", LFS),
)
"""(offset, bytes, format); of formats that Pillow reads, only those of which there are kinds that it does not."""

ZIPS = {
    ".npz": NUMPY,
    ".pt": PYTORCH,
    ".pth": PYTORCH,
    ".kra": Format("a Krita picture", "export it as PNG first"),
    ".ora": Format("an OpenRaster picture", "export it as PNG first"),
}
"""What is packed as a zip, but is none to its owner."""

RAWS = {
    ".cr2": "Canon CR2", ".cr3": "Canon CR3", ".crw": "Canon CRW", ".nef": "Nikon NEF", ".nrw": "Nikon NRW",
    ".arw": "Sony ARW", ".srf": "Sony SRF", ".sr2": "Sony SR2", ".dng": "DNG", ".orf": "Olympus ORF",
    ".rw2": "Panasonic RW2", ".raf": "Fujifilm RAF", ".pef": "Pentax PEF", ".srw": "Samsung SRW",
    ".x3f": "Sigma X3F", ".3fr": "Hasselblad 3FR", ".fff": "Hasselblad FFF", ".iiq": "Phase One IIQ",
    ".erf": "Epson ERF", ".kdc": "Kodak KDC", ".dcr": "Kodak DCR", ".mrw": "Minolta MRW", ".mos": "Leaf MOS",
    ".rwl": "Leica RWL", ".gpr": "GoPro GPR",
}  # fmt: skip

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

FILMS = {
    ".mov": "MOV", ".mp4": "MP4", ".m4v": "M4V", ".avi": "AVI", ".mkv": "Matroska", ".webm": "WebM", ".wmv": "WMV",
    ".mpg": "MPEG", ".mpeg": "MPEG", ".3gp": "3GP", ".flv": "FLV", ".mts": "AVCHD", ".m2ts": "AVCHD", ".ogv": "Ogg",
}  # fmt: skip

ENDINGS: dict[str, Format] = {
    **{ending: raw_photo(name) for ending, name in RAWS.items()},
    **{ending: _film(name) for ending, name in FILMS.items()},
    **dict.fromkeys(HEIF_ENDINGS, HEIC),
    **dict.fromkeys((".h5", ".hdf5", ".he5"), _dataset("an HDF5 file")),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".tfrec"), _dataset("a file of TensorFlow records")),
    **dict.fromkeys((".lmdb", ".mdb"), _dataset("an LMDB database")),
    **dict.fromkeys((".pkl", ".pickle"), PICKLE),
    **dict.fromkeys((".pt", ".pth"), PYTORCH),
    **dict.fromkeys((".tif", ".tiff"), TIFF),
    **dict.fromkeys((".svg", ".ai", ".eps", ".cdr"), Format("a drawing", "export it as PNG first")),
    ".jxl": JXL,
    ".psd": PSD,
    ".avif": AVIF,
    ".parquet": PARQUET,
    ".arrow": ARROW,
    ".beton": _dataset("an FFCV file"),
    ".rec": _dataset("a file of MXNet records"),
    ".mat": _dataset("a MATLAB file"),
    ".rar": _archive("RAR"),
    ".7z": _archive("7z"),
}
"""By the name, where the first bytes tell nothing."""


def recognise(head: bytes, name: str) -> Format | None:
    """What a file is that Pillow cannot read; None if it is nothing that is known.

    Args:
        head: its first `HEAD` bytes.
        name: its name.
    """
    ending = _ending(name)
    if head[:4] == b"PK\x03\x04":
        return ZIPS.get(ending, _archive("zip") if ending not in OFFICE else None)
    for offset, signature, known in SIGNATURES:
        if head.startswith(signature, offset):
            return known
    if (boxed := _boxed(head)) is not None:
        return boxed
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return WEB_PAGE
    if head[:4] in TIFF_HEADS:
        return raw_of(head, name) or TIFF
    if ending in (".tif", ".tiff"):
        return None  # whatever it is, it is no TIFF
    return ENDINGS.get(ending)


OFFICE = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub", ".jar", ".apk")


def raw_of(head: bytes, name: str) -> Format | None:
    """A raw photo of which Pillow would only read the small preview, for it is made like a TIFF."""
    if head[:4] not in TIFF_HEADS:
        return None
    if head[8:11] == b"CR\x02":
        return raw_photo("Canon CR2")
    ending = _ending(name)
    return raw_photo(RAWS[ending]) if ending in RAWS else None


def is_heif(head: bytes) -> bool:
    """Whether it is a HEIC (HEIF) photo, whatever its name."""
    return _boxed(head) is HEIC


def _boxed(head: bytes) -> Format | None:
    """Of the family of MP4 (ISO base media): the brands stand in the first box."""
    if head[4:8] in (b"moov", b"mdat", b"wide", b"skip"):
        return _film("MOV")
    if head[4:8] != b"ftyp":
        return None
    end = max(16, min(int.from_bytes(head[:4], "big"), len(head)))
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, end - 3, 4)}
    major = head[8:12]
    if major == b"crx ":
        return raw_photo("Canon CR3")
    if brands & {b"avif", b"avis"}:
        return AVIF
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return HEIC
    return _film("MOV" if major == b"qt  " else "MP4")


def _ending(name: str) -> str:
    """'.tfrecord' of a.tfrecord-00000-of-00010, too."""
    path = PurePath(name)
    ending = path.suffix.lower()
    return ending.split("-")[0] if "-of-" in ending else ending
