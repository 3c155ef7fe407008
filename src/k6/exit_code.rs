//! k6's exit codes. <https://github.com/grafana/k6/blob/v2.2.0/errext/exitcodes/codes.go>

/// Thresholds were crossed.
pub const THRESHOLDS_CROSSED: u8 = 99;
/// setup() took longer than its timeout.
pub const SETUP_TIMEOUT: u8 = 100;
/// teardown() took longer than its timeout.
pub const TEARDOWN_TIMEOUT: u8 = 101;
/// The test was stopped through the REST API.
pub const STOPPED: u8 = 103;
/// The configuration of the test is invalid.
pub const INVALID_CONFIG: u8 = 104;
/// SIGINT or SIGTERM ended the test.
pub const SIGNALLED: u8 = 105;
/// The REST API could not be started.
pub const NO_API: u8 = 106;
/// The script threw an exception where it is loaded, in setup() or in teardown().
pub const SCRIPT_EXCEPTION: u8 = 107;
/// The script called `exec.test.abort()`.
pub const SCRIPT_ABORTED: u8 = 108;
/// k6 itself panicked.
pub const PANIC: u8 = 109;
/// The script called `exec.test.fail()`.
pub const MARKED_AS_FAILED: u8 = 110;
/// Anything else: an unknown flag, a file that is not there, an output that can't be used.
pub const OTHER: u8 = 255;
