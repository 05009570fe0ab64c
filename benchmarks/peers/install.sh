#!/usr/bin/env bash
# Installs on Debian, as root, what the benchmarks compare with and the programs that make the load, as far as it is
# missing. None of the servers is left running or starts with the machine; those that were there stay as they are.
set -euo pipefail

packages=(libnginx-mod-http-brotli-static lighttpd-mod-deflate lighttpd-mod-openssl)
services=()
missing() { ! command -v "$1" >/dev/null && ! [[ -x /usr/sbin/$1 ]]; }
need() { if missing "$1"; then packages+=("$2"); fi; }
serve() { if missing "$1"; then packages+=("$2"); services+=("$1"); fi; }
serve nginx nginx-light
serve lighttpd lighttpd
serve caddy caddy
need wrk wrk
need h2load nghttp2-client
need cc gcc
if ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then packages+=(python3-venv); fi
if ! [[ -e /usr/include/stdio.h ]]; then packages+=(libc6-dev); fi

policy=/usr/sbin/policy-rc.d  # every package asks it before it starts its service
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${packages[@]}"

if ((${#services[@]})) && command -v systemctl >/dev/null; then
  systemctl disable --quiet "${services[@]}"
fi
