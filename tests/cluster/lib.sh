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

# The Kubernetes of the cluster: that of embedded/go.mod, or K8S=1.34.4.
pinned_kubernetes=$(sed -n 's|^\tk8s.io/kubernetes v||p' "$here/embedded/go.mod")
kubernetes=${K8S:-$pinned_kubernetes}
if [[ ! $kubernetes =~ ^1\.[0-9]+\.[0-9]+$ ]]; then
    echo "K8S is a version of Kubernetes, such as 1.34.4: '$kubernetes'" >&2
    exit 2
fi
embedded=$cache/bin/embedded
[[ $kubernetes == "$pinned_kubernetes" ]] || embedded=$cache/bin/kubernetes-$kubernetes
# The process that its containerd starts for each pod.
shim=${embedded%/*}/shim-${embedded##*/}
export pinned_kubernetes kubernetes embedded shim

# The k6 of the tests and of the demo: the binary K6_BIN, or the one that
# k6-requirements.txt pins. Its image has its version as the tag.
k6_version_of() { sed -n 's/^k6==\([0-9.]*\).*/\1/p' "$1"; }
if [[ -n ${K6_BIN:-} ]]; then
    k6_bin=$(realpath -e -- "$K6_BIN") || exit 2
    k6_version=$("$k6_bin" version | sed -n '1s/^[^ ]* v\([0-9A-Za-z._-]*\).*/\1/p')
    if [[ -z $k6_version ]]; then
        echo "K6_BIN: '$k6_bin version' does not print the version of a k6" >&2
        exit 2
    fi
    K6_BIN=$k6_bin
    export K6_BIN
else
    k6_bin=$cache/bin/k6
    k6_version=$(k6_version_of "$here/k6-requirements.txt")
fi
# The oldest k6 with which the tests run, beside that one.
oldest_k6_bin=$cache/bin/oldest-k6
oldest_k6_version=$(k6_version_of "$here/k6-oldest-requirements.txt")
export k6_bin k6_version oldest_k6_bin oldest_k6_version

# The operator's image where no IMG is given. RFC 2606 reserves `.invalid`, so no
# registry has this name and nothing foreign can be pulled by it.
default_image=k6-operator.invalid/operator:dev
export default_image

k6_image=docker.io/grafana/k6:$k6_version
# Other archives than that of the pinned k6 stand beside it, not in its place.
k6_archive=k6.tar
[[ -z ${K6_BIN:-} ]] || k6_archive=k6-$k6_version.tar
export k6_archive
target_image=docker.io/library/k6-target:1
pause_image=docker.io/library/k6-pause:1
# The addresses of a cluster are all of one family: that which it was started with.
family=${CLUSTER_FAMILY:-$(cat "$run/family" 2>/dev/null || echo ipv4)}
case $family in
    ipv4) all_pods=10.88.0.0/16 all_services=10.96.0.0/16 services=10.96.0. ;;
    ipv6) all_pods=fd88::/64 all_services=fd96::/112 services=fd96:: ;;
    *) die "CLUSTER_FAMILY is ipv4 or ipv6, not $family" ;;
esac
api_ip=${services}1
target_ip=${services}80
export k6_image target_image pause_image all_pods all_services api_ip target_ip

# The manifest of the server under load, with an address of this cluster.
target_manifest() { sed "s/clusterIP: .*/clusterIP: '$target_ip'/" "$here/target/target.yaml"; }

# in_url ADDRESS
in_url() { if [[ $1 == *:* ]]; then printf '[%s]' "$1"; else printf '%s' "$1"; fi; }

# A kubectl of the user's own comes first.
PATH=$PATH:$cache/bin

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

# take FD FILE: hold the lock FILE through FD. `down` removes these files, so
# what was locked must still be what the name means.
take() {
    mkdir -p "${2%/*}"
    while :; do
        eval "exec $1>\"\$2\""
        flock "$1"
        [[ ! $2 -ef /proc/self/fd/$1 ]] || return 0
    done
}

# The processes of a cluster, in the order they start.
components=(holder etcd containerd kube-apiserver kube-controller-manager
    kube-scheduler kube-proxy kubelet coredns kwok)
export components

# cr ARGUMENT...: the client of the cluster's containerd. It would warn of cgroups v1 each time.
cr() { CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$embedded" ctr --address "$run/containerd.sock" --namespace k8s.io "$@"; }

# kc ARGUMENT...: kubectl as the cluster's administrator.
kc() { kubectl --kubeconfig "$kubeconfig" "$@"; }

# born PID: when a process started, so that a reused number is noticed; nothing
# for one that is dead and only waits to be reaped. One whose first thread has
# ended before the others still has its ports.
born() {
    local stat threads
    read -r -a stat < <(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
    threads=(/proc/"$1"/task/*)
    [[ ${stat[0]} == [ZX] && ${#threads[@]} -le 1 ]] || printf '%s\n' "${stat[19]}"
}

# alive COMPONENT: is the process its pid file names still the one we started?
alive() {
    local pid since
    read -r pid since 2>/dev/null < "$run/pid/$1" || return 1
    [[ -n $since && $(born "$pid") == "$since" ]]
}

# launch COMPONENT COMMAND...: start it in the tracked cgroup; note its pid, and
# the command, for one who starts it again.
launch() {
    local component=$1 tracked pid
    shift
    tracked=$(<"$run/tracked")
    printf '%s\0' "$@" > "$run/pid/$component.command"
    (
        echo "$BASHPID" > "$tracked/cgroup.procs"
        exec 7>&- 8>&-
        exec setsid "$@"
    ) >> "$var/log/$component.log" 2>&1 </dev/null &
    pid=$!
    printf '%s %s\n' "$pid" "$(born "$pid")" > "$run/pid/$component"
}

# begin COMPONENT COMMAND...: the same, inside the cluster's namespaces.
begin() {
    local component=$1 holder
    shift
    read -r holder _ < "$run/pid/holder"
    launch "$component" nsenter --mount="/proc/$holder/ns/mnt" --net="/run/netns/$netns" -- "$@"
}

# healthy: every process lives and the API server says it is ready.
healthy() {
    local c
    for c in "${components[@]}"; do
        alive "$c" || return 1
    done
    kc --request-timeout=3s get --raw /readyz >/dev/null 2>&1
}

# cgroups: this cluster's directories, one per cgroup hierarchy.
cgroups() {
    local d
    for d in "/sys/fs/cgroup/k6op-$name" /sys/fs/cgroup/*/"k6op-$name"; do
        [[ ! -d $d ]] || printf '%s\n' "$d"
    done
}

# import ARCHIVE: load an image archive into the cluster, unless it has it.
import() {
    local id stamp
    id=$(basename "$(readlink -f "$1")")
    stamp=$run/images/$(basename "$1")
    if [[ ! -e $stamp || $(<"$stamp") != "$id" ]]; then
        cr images import "$1" >/dev/null
        printf '%s\n' "$id" > "$stamp"
    fi
}

# import_k6: the same for the image of k6. Two binaries can say that they are of
# one version, and the last one that came has the tag.
import_k6() {
    local stamp
    for stamp in "$run"/images/k6*.tar; do
        [[ ${stamp##*/} == "$k6_archive" ]] || rm -f "$stamp"
    done
    import "$cache/images/$k6_archive"
}

# scratch: a directory that goes away with this (sub)shell; its name is in $tmp.
scratch() {
    mkdir -p "$cache"
    tmp=$(mktemp -d "$cache/tmp.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
}

# keep FILE LINK HASH: FILE becomes LINK-HASH, LINK points at it, older ones go.
keep() {
    local old
    mv "$1" "$2-$3"
    ln -sfn "$(basename "$2")-$3" "$2"
    for old in "$2"-*; do
        [[ $old == "$2-$3" ]] || rm -f "$old"
    done
}

# have LINK HASH: is it there and up to date?
have() { [[ -e $1 && $(readlink "$1") == "$(basename "$1")-$2" ]]; }
