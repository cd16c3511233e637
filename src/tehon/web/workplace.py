"""What all tabs of the page share: the draft of the form, pictures, pages that were made, and preferences."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from tehon.disk import make_folder, write_whole
from tehon.messages.catalogue import language, languages, say
from tehon.runs.layout import RunDirectory
from tehon.web.draft import Draft
from tehon.web.pictures import Pictures
from tehon.web.plans import Plans

_PAGES = 20  # made pages that are kept for the browser


@dataclass(frozen=True)
class Preferences:
    """`dark` None follows the system."""

    language: str
    dark: bool | None = None
    help: bool = True


class Workplace:
    """Files in the user's data folder: form.toml and preferences.json. One for the whole server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "preferences.json"
        self.draft = Draft(folder / "form.toml")
        self.plans = Plans()
        self.draft.watchers.append(self.plans.forget)  # before the windows, who then ask for a plan
        self.pages: dict[str, str] = {}
        self._pictures: Pictures | None = None
        self._making = Lock()
        self.preferences = _preferences(self.file)
        self._speak()

    @property
    def pictures(self) -> Pictures:
        """Made when first asked for, and once, whichever thread asks."""
        with self._making:
            if self._pictures is None:
                from tehon.data.plan.index import user_cache_folder

                self._pictures = Pictures(user_cache_folder() / "thumbs")
            return self._pictures

    def prefer(self, **values: Any) -> None:
        """Changes preferences and keeps them; where they can't be written, they hold until the server ends."""
        self.preferences = replace(self.preferences, **values)
        self._speak()
        make_folder(self.folder)
        write_whole(self.file, json.dumps(asdict(self.preferences)).encode())

    def page(self, html: str) -> str:
        """The address at which a page that was made can be looked at."""
        name = secrets.token_urlsafe(12)
        self.pages[name] = html
        while len(self.pages) > _PAGES:
            self.pages.pop(next(iter(self.pages)))
        return f"/made/{name}"

    def _speak(self) -> None:
        os.environ["TEHON_LANG"] = self.preferences.language  # so that runs started from here say the same


@dataclass
class Desk:
    """One open browser tab: what its parts tell each other."""

    workplace: Workplace
    show_tab: Callable[[str], None]
    open_run: Callable[[RunDirectory], None] | None = None
    go_to: Callable[[str], None] | None = None
    front: str = ""
    on_front: dict[str, Callable[[], None]] = field(default_factory=dict[str, Callable[[], None]])
    """What is to be done whenever a tab is brought to the front, by its name."""

    @property
    def draft(self) -> Draft:
        return self.workplace.draft

    @property
    def pictures(self) -> Pictures:
        return self.workplace.pictures

    def show_run(self, run: RunDirectory) -> None:
        """Brings a run to the front."""
        self.show_tab("runs")
        if self.open_run is not None:
            self.open_run(run)

    def show_setting(self, name: str) -> None:
        """Brings the form to the front, with the cursor in a setting."""
        self.show_tab("train")
        if self.go_to is not None:
            self.go_to(name)

    def take_settings(self, tree: Mapping[str, Any], what: str = "") -> None:
        """Puts settings into the form, of a run where nothing else is said, and brings it to the front."""
        self.draft.replace(tree, what or say("web.edit_again"))
        self.show_tab("train")


def _preferences(file: Path) -> Preferences:
    try:
        found = json.loads(file.read_text("utf8"))
        preferences = Preferences(
            str(found.get("language", language())), dark=found.get("dark"), help=bool(found.get("help", True))
        )
    except (OSError, ValueError, AttributeError):
        return Preferences(language())
    return preferences if preferences.language in languages() else replace(preferences, language=language())
