//! The real k6 of the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The binary, which is installed if it is not there.
pub fn k6_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("K6_BIN") {
            return binary.into();
        }
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster");
        let found = Command::new("bash")
            .args([
                "-c",
                r#"bash "$0/setup" --k6 >&2 && . "$0/lib.sh" && printf %s "$cache/bin/k6""#,
                scripts,
            ])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(
            found.status.success(),
            "tests/cluster/setup --k6 failed; K6_BIN can name a k6"
        );
        String::from_utf8(found.stdout).unwrap().into()
    })
}
