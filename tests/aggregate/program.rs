//! The program that merges.

use crate::k6::unused_address;
use crate::run::tokens;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A Job whose pod ends well is complete, and makes no other in its place.
#[test]
fn an_aggregator_whose_pod_is_deleted_does_not_end_well() {
    let at = unused_address();
    let folder = tempfile::tempdir().unwrap();
    let hash = folder.path().join("hash");
    std::fs::write(&hash, tokens().aggregator.hash().to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
        .args(["aggregate", "--runners=1", &format!("--listen={at}")])
        .arg(format!("--token-hash={}", hash.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(at).is_err() {
        assert!(Instant::now() < until, "it does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
