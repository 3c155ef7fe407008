//! The help of each k6, captured with `k6 run --help` and so on. The path of the home folder is another.

use crate::k6::k6_binary;
use crate::version::version;
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
    let flags = Flags::of_help(help);
    assert!(flags.iter().count() > 40, "{flags:?}");
    let unlike = flags.iter().filter(|flag| table.long(&flag.name) != Some(flag));
    unlike.map(|flag| format!("{flag:?}")).collect()
}

fn names(help: &str) -> BTreeSet<String> {
    Flags::of_help(help)
        .iter()
        .map(|flag| flag.name.to_string())
        .collect()
}

/// The help of the k6 that is here.
fn help_of(command: &str) -> String {
    let output = Command::new(k6_binary())
        .args([command, "--help"])
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
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
    let unlike = unlike_the_table(&help_of("run"));
    assert_eq!(
        unlike,
        Vec::<String>::new(),
        "a new k6 has new flags: add them to the table"
    );
}

#[test]
fn archive_and_inspect_have_flags_of_run_and_three_more() {
    let here = ["run", "archive", "inspect"].map(help_of);
    let captured = CAPTURED.iter().map(|help| [help.run, help.archive, help.inspect]);
    for [run, archive, inspect] in captured.chain([here.each_ref().map(String::as_str)]) {
        let run = Flags::of_help(run);
        let others = |help: &str| -> BTreeSet<String> {
            let flags = Flags::of_help(help);
            let others = flags.iter().filter(|flag| run.long(&flag.name) != Some(flag));
            others.map(|flag| flag.name.to_string()).collect()
        };
        let expected = ["archive-out", "exclude-env-vars"].map(str::to_owned);
        assert_eq!(others(archive), BTreeSet::from(expected));
        assert_eq!(
            others(inspect),
            BTreeSet::from(["execution-requirements".to_owned()])
        );
    }
}

/// A k6 of another version is compared with the table only.
#[test]
fn captured_help_has_the_flags_of_the_k6_of_its_version() {
    let here = version().to_string();
    for help in CAPTURED.iter().filter(|help| help.version == here) {
        for (command, captured) in [
            ("run", help.run),
            ("archive", help.archive),
            ("inspect", help.inspect),
        ] {
            assert_eq!(
                Flags::of_help(captured),
                Flags::of_help(&help_of(command)),
                "{command}"
            );
        }
    }
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
    let here = lacks(&help_of("run"), &help_of("archive"));
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
        let (run, archive) = (
            Flags::of_help(run).with_hidden(),
            Flags::of_help(archive).with_hidden(),
        );
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
    assert!(names(&help_of("inspect")).contains("execution-requirements"));
}
