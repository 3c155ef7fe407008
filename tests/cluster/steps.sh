# shellcheck shell=bash
# Shared by `check` and `matrix`, which source it after lib.sh: steps that are
# timed and counted, and a cluster that is ended if it was not there before.

scratch
summary=()
# The clusters to end.
started=()
finish() {
    local status=$? line cluster
    rm -rf "$tmp"
    for cluster in "${started[@]}"; do
        CLUSTER_NAME=$cluster "$here/down" || status=1
        CLUSTER_NAME=$cluster "$here/leftovers" || { say "left behind by the cluster, see above"; status=1; }
    done
    say
    for line in "${summary[@]}"; do
        say "$line"
    done
    if ((status)); then
        say "FAILED${step:+: $step}"
    else
        say "all passed"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
    local began=$SECONDS
    step=$1
    shift
    say "== $step"
    "$@" </dev/null
    summary+=("$(printf 'ok %5d s  %s' $((SECONDS - began)) "$step")")
}

# tests NAME COMMAND...: a step that runs tests, and says how many; none is too few.
tests() {
    local count
    step "$1" counted "${@:2}"
    count=$(($(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$tmp/output" | paste -sd +)))
    ((count)) || die "no test ran"
    summary[-1]+=": $count tests"
}
counted() { "$@" | tee "$tmp/output"; }

cluster() {
    if ((EUID != 0)); then
        die "the end-to-end tests need root: the embedded cluster makes namespaces and cgroups"
    fi
    healthy || started+=("$name")
    step "embedded cluster" "$here/up"
    step "operator image" "$here/image"
}

# The same cases of the property tests each time; `make fuzz` tries new ones.
export PROPTEST_RNG_SEED=0


# with_k6 BIN: the tests without a cluster that run a real k6, with this one.
with_k6() { K6_BIN=$1 cargo test --locked --test aggregate --test differential --test k6 --test runners; }

# The end-to-end tests whose outcome depends on k6.
k6_part=(article:: aggregation:: field:: handlers:: reported:: results:: written:: sources:: refusals::a_script
    pods::quiet lifecycle::a_stopped lifecycle::what_cannot)
export k6_part
