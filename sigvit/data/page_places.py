"""Where pages lie, and the files that they name."""

from __future__ import annotations

import difflib
import os
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from sigvit.data.page_format import Arrays, Bids, Fetched, Files, Package, Page, Source
from sigvit.data.page_tables import PageError


def pages_folder() -> Path:
    """Where the shipped pages lie: inside the installed package, or beside it in a checkout."""
    package = Path(str(files("sigvit")))
    inside = package / "datasets"
    return inside if inside.is_dir() else package.parent / "datasets"


def page_names() -> list[str]:
    """The names of the shipped pages, sorted."""
    return sorted(path.stem for path in pages_folder().glob("*.toml"))


def find_page(name_or_path: str | Path) -> Path:
    """The file of a page.

    Raises
    ------
    PageError : no such file, or no page of this name; with the nearest name.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise PageError(f"There is no page {path}.")
        return path
    names = page_names()
    if str(name_or_path) not in names:
        near = difflib.get_close_matches(str(name_or_path), names, n=1)
        raise PageError(f"There is no page {str(name_or_path)!r}{f'; the nearest is {near[0]!r}' if near else ''}. Pages: {', '.join(names)}.")
    return pages_folder() / f"{name_or_path}.toml"


def data_folder() -> Path:
    """The folder in SIGVIT_DATA, else ../shared/data beside the checkout."""
    given = os.environ.get("SIGVIT_DATA")
    return Path(given) if given else Path(str(files("sigvit"))).parent.parent / "shared" / "data"


def find_source(page: Page, folder: str | Path | None) -> tuple[Source, Path | None]:
    """The first of a page's sources that is there, and its folder.

    Raises
    ------
    FileNotFoundError : none is; the message says what the page needs and where it was looked for.
    """
    looked = []
    local = [source for source in page.source if isinstance(source, Files | Bids | Arrays)]
    for source in local if folder is not None and local else page.source:
        if isinstance(source, Files | Bids | Arrays):
            place = _place(source, folder)
            if place is not None and place.is_dir():
                return source, place
            looked.append(str(place) if place else "no folder was given")
        elif isinstance(source, Package):
            if folder is not None or find_spec(source.package) is not None:
                return source, None if folder is None else Path(folder)
            looked.append(f"the package {source.package} isn't installed")
        elif isinstance(source, Fetched) or find_spec("moabb") is not None:
            return source, None if folder is None else Path(folder)
        else:
            looked.append("moabb isn't installed")
    raise FileNotFoundError(f"{page.name} isn't here ({'; '.join(looked)}). It needs: {page.needs}.")


def _place(source: Files | Bids | Arrays, folder: str | Path | None) -> Path | None:
    """The folder given, or the page's part of it where it holds that; the page's part of the data folder where none was given."""
    if folder is None:
        return data_folder() / source.folder if source.folder else None
    # Of a folder that the page says from the root on the parts below it: joined as it is, it would take the place of the one that is asked for.
    parts = [part for part in Path(source.folder).parts if part != Path(source.folder).anchor] if source.folder else []
    below = [Path(folder, *parts[start:]) for start in range(len(parts))]
    return next((place for place in below if place.is_dir()), Path(folder))
