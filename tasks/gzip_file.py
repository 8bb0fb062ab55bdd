"""Reading gzip files whose content must be, byte for byte, the published one."""

import gzip
import zlib
from hashlib import sha256
from pathlib import Path


def read_gzip(path: Path, checksum: str, kind: str, remedy: str) -> bytes:
    """Reads the content of a gzip file, and checks it.

    Args:
        path: of the file.
        checksum: SHA-256 of the content, in hexadecimal; not of the file, since two packers pack
            differently.
        kind: what an error calls it, such as MNIST.
        remedy: what an error tells to do.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file whose content is not, byte for byte, the published one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Missing {kind} file: {path} ({remedy})")
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"Damaged {kind} file: {path} ({error}; {remedy})") from error
    if (found := sha256(content).hexdigest()) != checksum:
        raise ValueError(
            f"Damaged {kind} file: {path} (SHA-256 of its content {found[:12]}…, not "
            f"{checksum[:12]}…; {remedy})"
        )
    return content
