"""Content types by file name, from a table of our own: the system's differs from machine to machine.

The types are IANA's where it has registered one, and what browsers agree on where it has not.
"""

from __future__ import annotations

DEFAULT = "application/octet-stream"

_EXTENSIONS_OF = {
    # Documents, styles and scripts (RFC 9239 for JavaScript)
    "text/html": "html htm shtml",
    "application/xhtml+xml": "xhtml xht",
    "text/css": "css",
    "text/javascript": "js mjs cjs",
    "application/json": "json map topojson har",
    "application/manifest+json": "webmanifest",
    "application/ld+json": "jsonld",
    "application/geo+json": "geojson",
    "application/jsonl": "jsonl ndjson",
    "application/x-ipynb+json": "ipynb",
    "application/wasm": "wasm",
    "application/xml": "xml xsd rng",
    "application/xml-dtd": "dtd",
    "application/xslt+xml": "xsl xslt",
    "application/atom+xml": "atom",
    "application/rss+xml": "rss",
    "application/rdf+xml": "rdf owl",
    "application/opensearchdescription+xml": "osdx",
    "application/gpx+xml": "gpx",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/mathml+xml": "mathml mml",
    # Text; source code too, so that it is shown and not saved
    "text/plain": "txt text log conf ini cfg rst diff patch c cc cpp cs go h hpp java kt lua pl py r rb rs sh swift",
    "text/markdown": "md markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/calendar": "ics ifb",
    "text/vcard": "vcf vcard",
    "text/turtle": "ttl",
    "text/n3": "n3",
    "text/vtt": "vtt",
    "text/troff": "man roff",
    "application/x-subrip": "srt",
    "application/ttml+xml": "ttml",
    "application/yaml": "yaml yml",
    "application/toml": "toml",
    "application/sql": "sql",
    "application/rtf": "rtf",
    "application/x-tex": "tex",
    # Fonts (RFC 8081)
    "font/woff": "woff",
    "font/woff2": "woff2",
    "font/ttf": "ttf",
    "font/otf": "otf",
    "font/collection": "ttc otc",
    "application/vnd.ms-fontobject": "eot",
    # Images
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/apng": "apng",
    "image/jpeg": "jpg jpeg jpe jfif",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/jxl": "jxl",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/bmp": "bmp",
    "image/tiff": "tif tiff",
    "image/jp2": "jp2",
    "image/ktx2": "ktx2",
    "image/vnd.microsoft.icon": "ico cur",
    "image/vnd.adobe.photoshop": "psd",
    "image/vnd.djvu": "djvu djv",
    # Sound and film; browsers know WAVE by its common name and not by IANA's audio/vnd.wave
    "audio/mpeg": "mp3 mpga",
    "audio/mp4": "m4a m4b",
    "audio/aac": "aac",
    "audio/ogg": "oga ogg opus spx",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/webm": "weba",
    "audio/midi": "mid midi",
    "audio/aiff": "aif aiff",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpg mpeg",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/matroska": "mkv",
    "video/vnd.avi": "avi",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/mp2t": "ts m2ts",
    "video/iso.segment": "m4s",
    "application/ogg": "ogx",
    "application/vnd.apple.mpegurl": "m3u8 m3u",
    "application/dash+xml": "mpd",
    # Models
    "model/gltf-binary": "glb",
    "model/gltf+json": "gltf",
    "model/obj": "obj",
    "model/mtl": "mtl",
    "model/stl": "stl",
    "model/vnd.usdz+zip": "usdz",
    # Documents to read or save
    "application/pdf": "pdf",
    "application/postscript": "ps eps ai",
    "application/epub+zip": "epub",
    "application/msword": "doc dot",
    "application/vnd.ms-excel": "xls xlt",
    "application/vnd.ms-powerpoint": "ppt pps",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template": "dotx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.template": "xltx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow": "ppsx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.graphics": "odg",
    "application/vnd.amazon.ebook": "azw",
    "application/x-mobipocket-ebook": "mobi",
    # Archives and programs
    "application/zip": "zip",
    "application/gzip": "gz tgz",
    "application/zstd": "zst",
    "application/x-bzip2": "bz2",
    "application/x-xz": "xz txz",
    "application/x-7z-compressed": "7z",
    "application/x-tar": "tar",
    "application/vnd.rar": "rar",
    "application/java-archive": "jar war",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.debian.binary-package": "deb",
    "application/x-rpm": "rpm",
    "application/x-apple-diskimage": "dmg",
    "application/vnd.efi.iso": "iso",
    "application/vnd.efi.img": "img",
    "application/vnd.microsoft.portable-executable": "exe dll",
    "application/x-msi": "msi",
    "application/x-xpinstall": "xpi",
    "application/vnd.sqlite3": "sqlite sqlite3",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/x-bittorrent": "torrent",
    # Keys and signatures
    "application/pgp-signature": "sig asc",
    "application/pem-certificate-chain": "pem",
    "application/pkix-cert": "cer crt der",
    "application/pkix-crl": "crl",
    "application/vnd.apple.pkpass": "pkpass",
    DEFAULT: "bin dat dump pak",
}

# Files known by their whole name, which has no extension. Those of `.well-known` are in IANA's registry of it.
_NAMES_OF = {
    "text/plain": "LICENSE LICENCE COPYING NOTICE README CHANGELOG CHANGES AUTHORS CONTRIBUTORS INSTALL NEWS TODO "
    "CNAME Makefile Dockerfile",
    "application/json": "apple-app-site-association openid-configuration oauth-authorization-server "
    "oauth-protected-resource nodeinfo",
    "application/jrd+json": "webfinger",
    "application/xrd+xml": "host-meta",
    "application/linkset+json": "api-catalog",
}

_TEXTUAL = {"application/json", "application/jsonl", "application/xml", "application/xml-dtd"}
_TEXTUAL_SUFFIXES = ("+json", "+xml")

# Not textual, yet smaller when compressed: formats that do not compress by themselves.
_COMPRESSIBLE = {
    "application/postscript",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/vnd.sqlite3",
    "application/wasm",
    "application/x-subrip",
    "application/x-tar",
    "application/x-tex",
    "application/yaml",
    "application/pem-certificate-chain",
    "audio/midi",
    "font/collection",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.adobe.photoshop",
    "image/vnd.microsoft.icon",
    "model/gltf-binary",
    "model/mtl",
    "model/obj",
    "model/stl",
}


# What pages are made of, beside fonts and images.
_SUBRESOURCES = frozenset({"application/vnd.ms-fontobject", "application/wasm", "text/css", "text/javascript"})


def _is_textual(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type in _TEXTUAL or media_type.endswith(_TEXTUAL_SUFFIXES)


def _render(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if _is_textual(media_type) else media_type


def _invert(table: dict[str, str]) -> dict[str, str]:
    return {word: _render(media_type) for media_type, words in table.items() for word in words.split()}


_BY_EXTENSION = _invert(_EXTENSIONS_OF)
_BY_NAME = _invert(_NAMES_OF)


def content_type(path: str) -> str:
    """The Content-Type of the file at `path`, charset included; `application/octet-stream` if nothing tells."""
    stem, _, extension = path.rpartition(".")
    # What follows a dot in a folder's name has a slash, so it is no extension; a name without any dot has no stem.
    known = _BY_EXTENSION.get(extension.lower()) if stem else None
    return known or _BY_NAME.get(path.rpartition("/")[2], DEFAULT)


def is_subresource(path: str) -> bool:
    """Whether the file's name is that of a part of a page: a script, a style, a font or an image."""
    media_type = content_type(path).partition(";")[0]
    return media_type in _SUBRESOURCES or media_type.startswith(("font/", "image/"))


def is_compressible(content_type: str) -> bool:
    """Whether content of this type, as `content_type` gives it, is worth compressing."""
    media_type = content_type.partition(";")[0]
    return _is_textual(media_type) or media_type in _COMPRESSIBLE
