//! The version of the real k6 of the tests.

use crate::k6::k6_binary;
use k6_operator::k6::Version;
use std::process::Command;
use std::sync::OnceLock;

/// As `k6 version` tells it.
pub fn version() -> Version {
    static VERSION: OnceLock<Version> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let told = Command::new(k6_binary()).arg("version").output().unwrap();
        Version::printed(&String::from_utf8(told.stdout).unwrap()).unwrap()
    })
}
