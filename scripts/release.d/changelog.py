"""Whether a version has its section in the changelog: dated, and not empty. Usage: changelog.py VERSION FILE"""

import datetime
import re
import sys

HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>.*))?$", re.M)


def fault(version, text):
    """What is wrong with the section of this version, if anything."""
    headings = list(HEADING.finditer(text))
    mine = [i for i, heading in enumerate(headings) if heading["version"] == version]
    if len(mine) != 1:
        return f"there are {len(mine)} sections `## [{version}] - YYYY-MM-DD`; one is needed"
    heading = headings[mine[0]]
    try:
        datetime.date.fromisoformat(heading["date"] or "")
    except ValueError:
        return f"the section of {version} has the date '{heading['date'] or ''}'; write the day of the release as YYYY-MM-DD"
    end = headings[mine[0] + 1].start() if mine[0] + 1 < len(headings) else len(text)
    if not re.search(r"^- \S", text[heading.end() : end], re.M):
        return f"the section of {version} names no change"
    return None


if __name__ == "__main__":
    wanted, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        found = fault(wanted, file.read())
    if found:
        sys.exit(f"{path}: {found}")
