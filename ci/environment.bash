# Sourced by every script here: where things are, and where they are kept between calls.
# Nothing outside the caches is written to, and nothing but $top/target and $top/dist in
# the clone.
# shellcheck shell=bash
set -euo pipefail

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/microagent

# rustup puts it there, and a shell that was open before does not know.
if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
  export PATH=$HOME/.cargo/bin:$PATH
fi

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root: $*" "run it as root, or install sudo"
  fi
}

# The Cloud Hypervisor to be looked at beside what is built here: the one that
# MICROAGENT_CLOUD_HYPERVISOR names, or that of PATH; nothing where there is none.
cloud_hypervisor() {
  printf '%s\n' "${MICROAGENT_CLOUD_HYPERVISOR:-$(command -v cloud-hypervisor || true)}"
}

# A fresh clone of a continuous integration has no target directory of its own to go on
# from: dependencies are kept by the hash of what decides them.
share_target_directory() {
  [ -z "${CARGO_TARGET_DIR:-}" ] && [ "${CI:-}" = true ] || return 0
  local key
  key=$(cat "$top/Cargo.lock" "$top/rust-toolchain.toml" | sha256sum | cut -c 1-16)
  export CARGO_TARGET_DIR=$cache/target/$key
  mkdir -p "$CARGO_TARGET_DIR"
  touch "$CARGO_TARGET_DIR"
  find "$cache/target" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf -- {} +
}

share_target_directory
target=${CARGO_TARGET_DIR:-$top/target}

# Debian's docker-registry and nginx are unpacked, not installed: as packages they start
# services. Tools for disks are not on every user's path.
export PATH=$PATH:$cache/docker-registry/usr/bin:$cache/nginx/usr/sbin:/usr/sbin:/sbin
# shellcheck disable=SC2034 # for those who source this
readonly top cache target
