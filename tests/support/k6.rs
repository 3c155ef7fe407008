//! The real k6 of the tests, and where it can listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A loopback address at which nothing listens, and nothing else will: its host is nobody else's, as a port that is
/// let go would be soon.
pub fn unused_address() -> SocketAddr {
    static HOSTS: AtomicU16 = AtomicU16::new(1);
    let [high, low] = HOSTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let host = Ipv4Addr::new(127, 1, high, low);
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

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
