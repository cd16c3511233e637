"""Where tehon keeps what belongs to a user and to no single run: which output folders there are, and the queue."""

import os
import sys
from pathlib import Path


def user_data_folder() -> Path:
    """`TEHON_DATA`, else tehon's folder among the user's data, as the system has it."""
    chosen = os.environ.get("TEHON_DATA")
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()
    home = Path.home()
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
    return Path(base) / "tehon"
