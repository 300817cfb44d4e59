"""lieer's own program `gmi`, with the simulator's address in Google's libraries and nothing else changed.

usage: gmi_at.py URL ARGUMENTS-OF-GMI…
"""

import pathlib
import runpy
import sys

import google.oauth2.credentials
from googleapiclient import discovery

from simulator import gmail_at


def main():
    url = sys.argv.pop(1)
    discovery.build = lambda name, version, credentials: gmail_at(url, credentials)
    # Credentials that are read from a file take this one, whatever the file says.
    google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT = f"{url}/token"
    program = pathlib.Path(sys.executable).parent / "gmi"
    sys.argv[0] = str(program)
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main()
