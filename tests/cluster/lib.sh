# shellcheck shell=bash
# Shared by the scripts in this directory: where things are, and small helpers.
# Sourced, never run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
export here repo

# What takes long to build is kept here; every file is named by a hash of its
# sources, so a change rebuilds it and nothing else does.
cache=${K6_OPERATOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/k6-operator}

# One cluster per name. Everything it has on this machine carries the name.
name=${CLUSTER_NAME:-k6op}
if [[ ! $name =~ ^[a-z][a-z0-9]{0,7}$ ]]; then
    echo "CLUSTER_NAME must be 1 to 8 of a-z and 0-9, starting with a letter: '$name'" >&2
    exit 2
fi
run=/run/k6-operator/$name       # sockets, pid files, logs, certificates
var=/var/lib/k6-operator/$name   # containerd's and kubelet's data, etcd
netns=k6op-$name
link=k6o-$name                   # host end of the veth pair (<= 15 letters)
kubeconfig=$run/admin.kubeconfig
export cache run var netns link kubeconfig

k6_image=docker.io/grafana/k6:1.1.0
target_image=docker.io/library/k6-target:1
pause_image=docker.io/library/k6-pause:1
target_ip=10.96.0.80
export k6_image target_image pause_image target_ip

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# hash_of PATH...: one short hash of the contents of files and directories.
hash_of() {
    find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum |
        sed "s|$repo/||" | sha256sum | cut -c1-16
}

# locked NAME COMMAND...: run it while no one else runs the same.
locked() {
    local lock=$cache/lock/$1
    shift
    mkdir -p "$cache/lock"
    (
        exec 9>"$lock"
        flock 9
        "$@" 9>&-
    )
}
