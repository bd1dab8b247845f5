"""A hook of the documentation site: the documents beside docs/ become pages of it.

Their links are written for a reader of the repository (`docs/guide/data.md`, `../CONTRIBUTING.md`); here they are made
to fit the site, where README is the first page.
"""

import re
from pathlib import Path
from typing import Any

from properdocs.structure.files import File

REPOSITORY = Path(__file__).parents[1]

# The document of the repository for each page of the site.
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security-policy.md": "SECURITY.md",
}


def on_files(files: Any, config: Any) -> Any:
    """Adds the documents beside docs/ to the site's files."""
    for page, document in PAGES.items():
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=links_from_root(text)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Makes the links of a page in docs/ to documents beside docs/ links to their pages."""
    depth = page.file.src_uri.count("/")
    for target, document in PAGES.items():
        markdown = markdown.replace(f"]({'../' * (depth + 1)}{document}", f"]({'../' * depth}{target}")
    return markdown


def links_from_root(text: str) -> str:
    """The text of a document beside docs/, whose links start in the repository's root, for a page of docs/."""
    text = re.sub(r"\]\(docs/", "](", text)
    for page, document in PAGES.items():
        text = text.replace(f"]({document}", f"]({page}")
    return text
