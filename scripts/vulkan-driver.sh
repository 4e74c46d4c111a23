#!/bin/sh
# Installs Mesa's software Vulkan driver where a Debian or Ubuntu machine has no Vulkan driver at all. Elsewhere it does
# nothing: a graphics card's own driver is there already, and macOS and Windows bring Metal and DX12.
set -eu
# Ordinary users of Debian do not have ldconfig in their path.
PATH=$PATH:/sbin:/usr/sbin

[ "$(uname -s)" = Linux ] || exit 0
for folder in /etc/vulkan/icd.d /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /usr/local/etc/vulkan/icd.d; do
    if ls "$folder"/*.json >/dev/null 2>&1 && ldconfig -p | grep -q 'libvulkan\.so\.1'; then
        exit 0
    fi
done
if ! command -v apt-get >/dev/null; then
    echo "No Vulkan driver was found: install your graphics card's, or your system's package of Mesa's lavapipe." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
echo "No Vulkan driver was found: installing Mesa's software driver."
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers
