# lib.sh - what tools/quickstart, tools/test and tools/bench share: root, packages, building. Sourced by bash.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

need_root() {
  [ "$(id -u)" = 0 ] || { echo "$0: network namespaces and packages need root; run: sudo $0" >&2; exit 1; }
}

# packages SECTION...: their names, from tools/packages.
packages() {
  awk -v wanted=" $* " -v here="$(dpkg --print-architecture)" \
    '/^\[/ { on = index(wanted, " " substr($0, 2, length($0) - 2) " "); next } on && !/^#/ && (NF < 2 || $2 == here) { print $1 }' \
    "$top/tools/packages"
}

# need_packages SECTION...: installs what is missing; no service of a new package starts.
need_packages() {
  local missing=() package guard=/usr/sbin/policy-rc.d
  for package in $(packages "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  echo "installing ${missing[*]}"
  if [ ! -e $guard ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod 755 $guard
  else
    guard=
  fi
  apt-get update -q >/dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null ||
    { echo "$0: apt-get could not install: ${missing[*]}" >&2; exit 1; }
  if [ -n "$guard" ]; then
    rm -f $guard
    trap - EXIT
  fi
}

programs="tincan/ipop-tincan controller/ipop-controller tools/ipop"

# build FOLDER [meson option...]: sets it up once, and compiles all, or only $targets.
build() {
  local folder=$1 said
  shift
  [ -e "$top/$folder/build.ninja" ] || said=$(meson setup "$top/$folder" "$top" "$@" 2>&1) || { echo "$said"; return 1; }
  ninja -C "$top/$folder" --quiet ${targets:-}
}
