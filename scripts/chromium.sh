#!/bin/sh
# Installs Chromium on a Debian machine that lacks it, for the tests of the page. Elsewhere CHROMIUM names the program to use.
set -eu
if [ -n "${CHROMIUM:-}" ] || [ -x /usr/bin/chromium ]; then exit 0; fi
if ! command -v apt-get >/dev/null; then
    echo "Chromium was not found: install it, and name it by CHROMIUM=/path/to/chromium." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
