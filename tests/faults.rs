//! `docs/faults.md`: every fault in every state of a run, and the depths of tests that let it happen there.
//!
//! The tests write down which faults they let happen (`K6OP_FAULTS`); after all of them `tests/cluster/check` runs
//! this with their file: each depth and each test that the table names must have let the fault happen. Without it, only
//! what needs none of them is checked: that the table has all faults and all states, that each cell has a depth or a
//! reason, and that the tests it names exist.

#![allow(clippy::unwrap_used)]

#[path = "support/faults.rs"]
mod faults;
#[path = "support/named.rs"]
mod tests;

use faults::Fault;
use k6_operator::machine::StateName::{self, Created, Finished, Initializing, Started, Starting, Stopping};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// In the order in which a cell names them, with the target that each is.
const DEPTHS: [&str; 3] = ["model", "simulation", "cluster"];

/// No more tests than these are named for one fault and depth.
const NAMED: usize = 3;

const NO_RUNNERS: &str = "no runners yet";
const NO_STARTER: &str = "no starter then";
const SPENT: &str = "nothing is waited for, and no deadline is left";
const READ: &str = "its pods have read it by then";

/// Why no test lets a fault happen in a state. A cell that has a test needs none.
const REASONS: [(Fault, &[StateName], &str); 21] = [
    (
        Fault::LeaderKilled,
        &[Stopping, Finished],
        "as operator killed: a standby takes over, whatever the state",
    ),
    (
        Fault::LeaderKilled,
        &StateName::ALL,
        "as operator killed: see the model of the lease",
    ),
    (
        Fault::ApiServerRestarted,
        &StateName::ALL,
        "as API server failing, after which watches begin anew",
    ),
    (Fault::RunnerPodDeleted, &[Initializing], NO_RUNNERS),
    (
        Fault::RunnerPodDeleted,
        &[Finished],
        "the verdict is told; the pod is not looked at again",
    ),
    (Fault::RunnerJobDeleted, &[Initializing], NO_RUNNERS),
    (Fault::RunnerOomKilled, &[Initializing], NO_RUNNERS),
    (
        Fault::RunnerOomKilled,
        &[Finished],
        "the verdict is told; no runner is left",
    ),
    (
        Fault::RunnerNeverReady,
        &[Starting, Started, Stopping, Finished],
        "all were ready before",
    ),
    (Fault::NodeLost, &[Finished], "no pod is left that runs"),
    (
        Fault::NodeLost,
        &[Created],
        "as runner never ready, or its pod deleted",
    ),
    (Fault::StarterDeleted, &[Initializing, Created], NO_STARTER),
    (
        Fault::StarterKilledHalfway,
        &[Initializing, Created, Started, Stopping, Finished],
        NO_STARTER,
    ),
    (
        Fault::NetworkCut,
        &[Created],
        "as runner never ready: the kubelet asks, not the operator",
    ),
    (Fault::NetworkCut, &[Started], "nobody talks to the runners"),
    (
        Fault::NetworkCut,
        &[Initializing, Stopping, Finished],
        "only the starter and the stopper talk to runners; the stopper's end is not waited for",
    ),
    (
        Fault::ConfigMapDeleted,
        &[Starting, Started, Stopping, Finished],
        READ,
    ),
    (
        Fault::NamespaceDeleted,
        &StateName::ALL,
        "as resource deleted: Kubernetes deletes what is in it, one by one",
    ),
    (Fault::ForeignObject, &[Started, Finished], "nothing is made then"),
    (
        Fault::RequestRefused,
        &[Started, Finished],
        "nothing is made then",
    ),
    (Fault::DeadlinePassed, &[Finished], SPENT),
];

type Covered = BTreeMap<(String, String), BTreeMap<String, BTreeSet<String>>>;

/// Lines of fault, state, depth and test, separated by tabs.
fn covered(record: &str) -> Covered {
    let faults: BTreeSet<String> = Fault::ALL.iter().map(Fault::to_string).collect();
    let mut covered = Covered::new();
    for line in record.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [fault, state, depth, test] = parts[..] else {
            panic!("{line:?} is not fault, state, depth and test");
        };
        assert!(faults.contains(fault), "{line}: no such fault");
        assert!(
            StateName::ALL.iter().any(|name| name.as_str() == state),
            "{line}: no such state"
        );
        assert!(DEPTHS.contains(&depth), "{line}: no such depth");
        let cell = covered.entry((fault.to_owned(), state.to_owned())).or_default();
        cell.entry(depth.to_owned()).or_default().insert(test.to_owned());
    }
    covered
}

fn reason(fault: Fault, state: StateName) -> Option<&'static str> {
    let mut all = REASONS.iter();
    all.find(|(of, states, _)| *of == fault && states.contains(&state))
        .map(|(_, _, reason)| *reason)
}

/// Depths that cover it, or the reason why none does.
fn cell(covered: &Covered, fault: Fault, state: StateName) -> String {
    match covered.get(&(fault.to_string(), state.as_str().to_owned())) {
        Some(depths) => {
            let named = DEPTHS.into_iter().filter(|depth| depths.contains_key(*depth));
            named.collect::<Vec<_>>().join(", ")
        }
        None => reason(fault, state).map_or(String::new(), |reason| format!("*{reason}*")),
    }
}

fn table(covered: &Covered) -> String {
    let mut text = String::from(
        "<!-- Written by all tests: `UPDATE=1 make test`. -->\n\n# Every fault in every state, and what tests it\n\n\
         For those who have to trust the operator, and for those who change it: whether a fault is tested in the state in \
         which they fear it.\n\n*model*: the model checker lets it happen at every moment of that state (`tests/model`). *simulation*: it meets \
         the real operator in a simulated cluster (`tests/simulation`). *cluster*: it is done to a real one \
         (`tests/cluster`). Where no test lets it happen, the cell says why.\n\n| fault |",
    );
    for state in StateName::ALL {
        write!(text, " {} |", state.as_str()).unwrap();
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(StateName::ALL.len()));
    text.push('\n');
    for fault in Fault::ALL {
        write!(text, "| {fault} |").unwrap();
        for state in StateName::ALL {
            write!(text, " {} |", cell(covered, fault, state)).unwrap();
        }
        text.push('\n');
    }
    text.push_str("\n## The tests\n\n");
    for fault in Fault::ALL {
        let mut of_depth: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for ((name, _), depths) in covered {
            if *name == fault.to_string() {
                for (depth, tests) in depths {
                    of_depth
                        .entry(depth)
                        .or_default()
                        .extend(tests.iter().map(String::as_str));
                }
            }
        }
        let told = DEPTHS.into_iter().filter_map(|depth| {
            let tests: Vec<&str> = of_depth.get(depth)?.iter().copied().take(NAMED).collect();
            Some(format!("{depth}: {}", tests.join(", ")))
        });
        writeln!(text, "- **{fault}** {}", told.collect::<Vec<_>>().join("; ")).unwrap();
    }
    text
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")
}

/// What the table says of a fault: the depths that let it happen in each state, or a reason, and the tests of each depth.
struct Row<'a> {
    cells: Vec<&'a str>,
    tests: BTreeMap<&'a str, Vec<&'a str>>,
}

fn rows(text: &str) -> BTreeMap<&str, Row<'_>> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut rows: BTreeMap<&str, Row<'_>> = lines
        .skip(2)
        .filter_map(|line| line.split_once(" | "))
        .map(|(fault, cells)| {
            let cells = cells.split(" | ").map(str::trim).collect();
            (
                fault,
                Row {
                    cells,
                    tests: BTreeMap::new(),
                },
            )
        })
        .collect();
    for (fault, depths) in text
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split_once("** "))
    {
        let depths = depths.split("; ").filter_map(|depth| depth.split_once(": "));
        let row = rows.get_mut(fault).unwrap();
        row.tests = depths
            .map(|(depth, tests)| (depth, tests.split(", ").collect()))
            .collect();
    }
    rows
}

/// What the table says and the record does not.
fn stale(rows: &BTreeMap<&str, Row<'_>>, covered: &Covered) -> Vec<String> {
    let mut stale = Vec::new();
    for (fault, row) in rows {
        let of_state = |state: StateName| covered.get(&((*fault).to_owned(), state.as_str().to_owned()));
        for (cell, state) in row.cells.iter().zip(StateName::ALL) {
            let depths = cell.split(", ").filter(|depth| DEPTHS.contains(depth));
            let others =
                depths.filter(|depth| !of_state(state).is_some_and(|depths| depths.contains_key(*depth)));
            stale.extend(others.map(|depth| format!("no {depth} has {fault} in {}", state.as_str())));
        }
        for (depth, tests) in &row.tests {
            let lets = |test: &str| {
                let mut states = StateName::ALL.into_iter().filter_map(of_state);
                states.any(|depths| depths.get(*depth).is_some_and(|tests| tests.contains(test)))
            };
            let others = tests.iter().filter(|test| !lets(test));
            stale.extend(others.map(|test| format!("{test} of {depth} lets no {fault} happen")));
        }
    }
    stale
}

#[test]
fn every_fault_is_tested_in_every_state_or_has_a_reason_not_to_be() {
    let covered =
        std::env::var_os("K6OP_FAULTS").map(|record| covered(&std::fs::read_to_string(record).unwrap()));
    if let Some(covered) = &covered
        && std::env::var_os("UPDATE").is_some()
    {
        std::fs::write(file(), table(covered)).unwrap();
    }
    let text = std::fs::read_to_string(file()).unwrap();
    let head: Vec<&str> = StateName::ALL.into_iter().map(StateName::as_str).collect();
    assert!(
        text.contains(&format!("\n| fault | {} |\n", head.join(" | "))),
        "docs/faults.md has other states"
    );
    let rows = rows(&text);
    let listed: BTreeSet<String> = rows.keys().map(|fault| (*fault).to_owned()).collect();
    let all: BTreeSet<String> = Fault::ALL.iter().map(Fault::to_string).collect();
    assert_eq!(listed, all, "docs/faults.md has other faults");
    let mut gaps = Vec::new();
    for fault in Fault::ALL {
        let row = &rows[fault.to_string().as_str()];
        for (i, state) in StateName::ALL.into_iter().enumerate() {
            let cell = row.cells.get(i).copied().unwrap_or_default();
            let tested = cell.split(", ").all(|depth| DEPTHS.contains(&depth));
            let told = reason(fault, state).is_some_and(|reason| cell == format!("*{reason}*"));
            if !tested && !told {
                gaps.push(format!("{fault} in {}: {cell:?}", state.as_str()));
            }
            let named = cell.split(", ").all(|depth| row.tests.contains_key(depth));
            if tested && !named {
                gaps.push(format!("{fault} in {}: no test named of {cell}", state.as_str()));
            }
        }
    }
    assert!(
        gaps.is_empty(),
        "neither a test nor a reason:\n{}",
        gaps.join("\n")
    );
    let named = rows.values().flat_map(|row| row.tests.values().flatten());
    let missing = tests::missing(named.copied());
    assert!(
        missing.is_empty(),
        "docs/faults.md names tests that are no more: {missing:?}"
    );
    let stale = covered.map(|covered| stale(&rows, &covered)).unwrap_or_default();
    assert!(
        stale.is_empty(),
        "docs/faults.md is stale, write it with UPDATE=1: {stale:#?}"
    );
}
