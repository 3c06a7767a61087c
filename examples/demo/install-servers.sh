#!/bin/sh
# Installs the given programs from the system's packages if they are missing, without starting them as services.
set -eu

# Debian keeps the programs of some packages outside of the path, in a folder named after the package.
is_there() {
    command -v "$1" >/dev/null 2>&1 || ls "/usr/lib/$1"/*/bin >/dev/null 2>&1
}

missing=
for program in "$@"; do
    is_there "$program" || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "these programs are missing, and apt-get is not available; please install them:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
fi
echo "installing$missing from the system's packages"
# Debian starts a server as soon as it is installed, unless this file forbids it.
forbid=/usr/sbin/policy-rc.d
if [ ! -e "$forbid" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$forbid" >/dev/null
    $as_root chmod 755 "$forbid"
    trap '$as_root rm -f "$forbid"' EXIT
fi
$as_root apt-get update -q
# Each package has the name of its program.
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $missing
