#!/usr/bin/env bash
# Installs what the suites of this folder need, and what .ci/run checks with, by package name, from Debian, PyPI and npm;
# and the system user _porchd, whom edges run as.
#
#   tests/real/install.sh        as root; about three minutes the first time, a second afterwards
#   tests/real/install.sh nginx  one more Debian package with it
#
# Python and node packages go into ${PORCHD_REAL_DIR:-$HOME/.cache/porchd-real}. Any failure ends it.
set -euo pipefail

dir=${PORCHD_REAL_DIR:-$HOME/.cache/porchd-real}
python=${PYTHON:-python3}
synapse=1.163.2
nio=0.26.0
js_sdk=37        # the newest for Node 20
puppeteer=24
debian=(dnsmasq-base iproute2 util-linux curl openssl chromium nghttp2-client pebble prometheus valgrind
  nftables wireguard-go wireguard-tools mandoc mksh "$@")

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

install_debian() {
  local missing=() package
  for package in "${debian[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || fail "missing Debian packages, and not root to install them: ${missing[*]}"
  say "Debian: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -o DPkg::Lock::Timeout=600 update -qq
  # No service of these packages may start by itself; the file is taken away again.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
  fi
  apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Whom edges run as, unless a configuration says otherwise. The suites keep to that.
make_user() {
  id _porchd >/dev/null 2>&1 && return 0
  [ "$(id -u)" = 0 ] || fail "there is no user _porchd, and not root to make it"
  say "user: _porchd"
  useradd --system --user-group --no-create-home --shell /usr/sbin/nologin _porchd
}

# A part counts as installed once its version file is written, as the last act.
install_python() { # folder, package, version, what it must import
  local home="$dir/$1"
  [ "$(cat "$home/version" 2>/dev/null)" = "$3" ] && return 0
  say "PyPI: $2 $3"
  rm -rf "$home"
  "$python" -m venv "$home"
  "$home/bin/pip" -q --disable-pip-version-check install "$2==$3"
  "$home/bin/python" -c "import $4"
  printf '%s\n' "$3" >"$home/version"
}

install_js() {
  local wanted="matrix-js-sdk@$js_sdk puppeteer-core@$puppeteer"
  [ "$(cat "$dir/js/version" 2>/dev/null)" = "$wanted" ] && return 0
  say "npm: $wanted"
  rm -rf "$dir/js"
  mkdir -p "$dir/js"
  printf '{ "private": true }\n' >"$dir/js/package.json"
  # shellcheck disable=SC2086 # two words
  (cd "$dir/js" && npm install --no-audit --no-fund --loglevel=error $wanted >/dev/null)
  printf '%s\n' "$wanted" >"$dir/js/version"
}

command -v node >/dev/null && command -v npm >/dev/null || fail "node 20 or newer, with npm, is needed"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || fail "node 20 or newer is needed; this is $(node -v)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed; this is $("$python" -V)"
mkdir -p "$dir"
install_debian
make_user
install_python synapse matrix-synapse "$synapse" synapse.app.homeserver
install_python nio matrix-nio "$nio" nio
install_js
say "ready: $(node -v), $("$python" -V), Synapse $synapse, $(chromium --version 2>/dev/null || fail 'chromium does not start')"
