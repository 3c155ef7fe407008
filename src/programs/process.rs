//! The process of a k6, which leads a process group. Signals go to the whole group: since 1.2, a k6 whose script imports an
//! extension that it lacks runs another k6 as its child, and passes no signal on to it.
//! <https://grafana.com/docs/k6/latest/extensions/explanations/extensions-resolution/>

use crate::protocol::tokens::VARIABLES;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use tokio::process::{Child, Command};
use tokio::signal::unix::Signal as Received;

/// The command of a k6, without the variables that have tokens: its script can read all others.
pub(super) fn k6(program: &str) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the variables with tokens are removed here"
    )]
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
}

/// The process ID of a k6; None if it has ended.
pub(super) fn pid_of(k6: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(k6.id()?).ok()?)
}

/// Waits for the end of k6. Forwards the signals that this process receives, and notes that there was one.
pub(super) async fn until_end(
    k6: &mut Child,
    pid: Pid,
    terminated: &mut Received,
    interrupted: &mut Received,
    signalled: &Cell<bool>,
) -> std::io::Result<ExitStatus> {
    loop {
        let told = tokio::select! {
            ended = k6.wait() => return ended,
            _ = terminated.recv() => Signal::TERM,
            _ = interrupted.recv() => Signal::INT,
        };
        signalled.set(true);
        tell(pid, told);
    }
}

/// Signals k6 and its children.
pub(super) fn tell(leader: Pid, signal: Signal) {
    match kill_process_group(leader, signal) {
        // All have ended.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => eprintln!("k6-operator: k6 can't be signalled: {error}"),
    }
}

/// Logs an error in the format of k6, so that a search for the last error in a runner's log finds it.
pub(super) fn log_error(message: &str) {
    let text: String = message.chars().flat_map(char::escape_debug).collect();
    eprintln!("level=error msg=\"{text}\" source=k6-operator");
}

/// The exit code as a shell reports it: 128 plus the number of a signal.
pub(super) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
