//! The help of each k6, captured with `k6 run --help` and so on. The path of the home folder is another.

use crate::k6::k6_binary;
use k6_operator::k6::{Arguments, Flags};
use std::collections::BTreeSet;
use std::process::Command;

/// The commands of one k6, with their help.
struct Help {
    version: &'static str,
    run: &'static str,
    archive: &'static str,
    inspect: &'static str,
}

const CAPTURED: [Help; 4] = [
    Help {
        version: "0.57.0",
        run: include_str!("help/run-0.57.0.txt"),
        archive: include_str!("help/archive-0.57.0.txt"),
        inspect: include_str!("help/inspect-0.57.0.txt"),
    },
    Help {
        version: "1.1.0",
        run: include_str!("help/run-1.1.0.txt"),
        archive: include_str!("help/archive-1.1.0.txt"),
        inspect: include_str!("help/inspect-1.1.0.txt"),
    },
    Help {
        version: "1.8.1",
        run: include_str!("help/run-1.8.1.txt"),
        archive: include_str!("help/archive-1.8.1.txt"),
        inspect: include_str!("help/inspect-1.8.1.txt"),
    },
    Help {
        version: "2.2.0",
        run: include_str!("help/run-2.2.0.txt"),
        archive: include_str!("help/archive-2.2.0.txt"),
        inspect: include_str!("help/inspect-2.2.0.txt"),
    },
];

/// Those that the table of flags lacks, or has otherwise.
fn unlike_the_table(help: &str) -> Vec<String> {
    let table = Flags::of_run();
    let told = Flags::told(help);
    assert!(told.iter().count() > 40, "{told:?}");
    let unlike = told.iter().filter(|flag| table.long(&flag.name) != Some(flag));
    unlike.map(|flag| format!("{flag:?}")).collect()
}

fn names(help: &str) -> BTreeSet<String> {
    Flags::told(help)
        .iter()
        .map(|flag| flag.name.to_string())
        .collect()
}

fn told(command: &str) -> String {
    let told = Command::new(k6_binary())
        .args([command, "--help"])
        .output()
        .unwrap();
    assert!(told.status.success());
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn table_has_every_flag_of_every_version() {
    for Help { version, run, .. } in CAPTURED {
        assert_eq!(unlike_the_table(run), Vec::<String>::new(), "{version}");
    }
    let captured: BTreeSet<String> = CAPTURED.iter().flat_map(|help| names(help.run)).collect();
    let table: BTreeSet<String> = Flags::of_run().iter().map(|flag| flag.name.to_string()).collect();
    assert_eq!(table, captured);
}

#[test]
fn table_has_every_flag_of_the_k6_that_is_here() {
    let unlike = unlike_the_table(&told("run"));
    assert_eq!(
        unlike,
        Vec::<String>::new(),
        "a new k6 has new flags: add them to the table"
    );
}

#[test]
fn flags_that_archive_lacks_are_derived_from_the_help() {
    let lacks = |run: &str, archive: &str| -> Vec<String> {
        let has = names(archive);
        names(run)
            .into_iter()
            .filter(|name| !has.contains(name))
            .collect()
    };
    for Help {
        version,
        run,
        archive,
        ..
    } in CAPTURED
    {
        let expected: &[&str] = match version {
            "2.2.0" => &["features", "linger", "no-usage-report", "out"],
            _ => &["linger", "no-usage-report", "out"],
        };
        assert_eq!(lacks(run, archive), expected, "{version}");
    }
    let here = lacks(&told("run"), &told("archive"));
    assert!(here.contains(&"out".to_owned()), "{here:?}");
}

#[test]
fn arguments_are_divided_as_the_help_says() {
    let words = [
        "--features=a",
        "-qo",
        "json=x.json",
        "--vus",
        "2",
        "--no-usage-report",
        "--log-format=json",
    ];
    let words = words.map(str::to_owned);
    for Help {
        version,
        run,
        archive,
        ..
    } in CAPTURED
    {
        let (run, archive) = (Flags::told(run).with_hidden(), Flags::told(archive).with_hidden());
        let given = Arguments::parse(&words, &run).for_archive(&run, &archive);
        let (expected, variables): (&[&str], &[_]) = match version {
            "2.2.0" => (&["-q", "--vus", "2"], &[("K6_FEATURES", "a".to_owned())]),
            // k6 itself refuses what it does not know.
            _ => (&["--features=a", "-q", "--vus", "2"], &[]),
        };
        assert_eq!(
            (given.words.as_slice(), given.variables.as_slice()),
            (expected_owned(expected).as_slice(), variables)
        );
    }
}

fn expected_owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn inspect_tells_what_a_script_needs_in_every_version() {
    for Help { version, inspect, .. } in CAPTURED {
        assert!(names(inspect).contains("execution-requirements"), "{version}");
        assert!(!names(inspect).contains("vus"), "{version}");
    }
    assert!(names(&told("inspect")).contains("execution-requirements"));
}
