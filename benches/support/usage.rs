//! What processes took, as `/usr/bin/time` tells it. It counts those that a process has waited for too: `linger` waits for
//! k6.

use std::path::Path;
use tokio::process::Command;

/// What all processes of a command took.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Seconds of CPU of all together.
    pub cpu: f64,
    /// The most memory of one of them, in MiB.
    pub memory: f64,
}

/// A command without its program yet, whose usage is told in this file.
pub fn timed(usage: &Path) -> Command {
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%U %S %M", "-o"]).arg(usage);
    command
}

impl Usage {
    /// The usage that is told in this file.
    pub fn told(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let used: Vec<f64> = text
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        Self {
            cpu: used[0] + used[1],
            memory: used[2] / 1024.0,
        }
    }
}
