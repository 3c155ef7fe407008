//! The planted defects of `tests/mutants`: `make mutants` tests that they are caught, this that they still can be
//! planted.

use crate::support::texts;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const FIELDS: [&str; 4] = ["Name: ", "Does: ", "Breaks: ", "Catcher: "];

fn patches() -> Vec<(String, String)> {
    texts("tests/mutants", "patch")
}

#[test]
fn every_planted_defect_still_applies() {
    let patches = patches();
    assert!(patches.len() >= 24);
    for (name, _) in patches {
        let check = Command::new("git")
            .args(["apply", "--check", &format!("tests/mutants/{name}.patch")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(
            check.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&check.stderr)
        );
    }
}

#[test]
fn every_planted_defect_says_what_it_does_and_is_in_the_table() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mutants.md");
    let table = std::fs::read_to_string(table).unwrap();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let listed: BTreeSet<&str> = rows
        .map(|(name, _)| name)
        .filter(|name| !matches!(*name, "defect" | "---"))
        .collect();
    let patches = patches();
    for (name, text) in &patches {
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| !line.starts_with("diff "))
            .collect();
        for field in FIELDS {
            assert!(
                head.iter().any(|line| line.starts_with(field)),
                "{name} has no {field}"
            );
        }
        assert!(
            head.contains(&format!("Name: {name}").as_str()),
            "{name} has another name"
        );
        let touched = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        assert!(
            touched.into_iter().all(|path| path.starts_with("src/")),
            "{name} is not in src"
        );
    }
    let all: BTreeSet<&str> = patches.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        listed, all,
        "docs/mutants.md has other defects: run `UPDATE=1 make mutants`"
    );
}
