//! Forwards k6's log and finds lines in it that tell how a test ended.

use crate::k6::log::marks_as_failed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest part of a line that is examined, in bytes. A line that a script logs can have any length.
const LONGEST: usize = 4096;
/// How long to wait for the rest of k6's log after k6 has ended.
const REST: Duration = Duration::from_secs(2);

/// A stream of k6 that is forwarded byte by byte.
pub(super) struct Relay {
    marked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts to forward one stream to another.
    pub(super) fn start(
        from: impl AsyncRead + Unpin + Send + 'static,
        to: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let marked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(pass_on(from, to, Arc::clone(&marked)));
        Self { marked, task }
    }

    /// Whether a line of the stream says that `exec.test.fail()` was called.
    pub(super) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    /// Waits until the stream has ended, but not for long: a process that k6 has left behind may keep it open.
    pub(super) async fn end(&mut self) {
        let _ended = timeout(REST, &mut self.task).await;
    }
}

async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, marked: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(line.len());
            line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                if marks_as_failed(&String::from_utf8_lossy(&line)) {
                    marked.store(true, Ordering::Relaxed);
                }
                line.clear();
            }
        }
        // k6 goes on even if nobody reads its log.
        let _written = to.write_all(bytes).await;
        let _flushed = to.flush().await;
    }
}

#[cfg(test)]
mod tests {
    use super::Relay;

    async fn passed_on(text: &[u8]) -> (Vec<u8>, bool) {
        let (to, mut end) = tokio::io::duplex(64);
        let text = text.to_vec();
        let mut relay = Relay::start(std::io::Cursor::new(text), to);
        let mut passed = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut end, &mut passed)
            .await
            .unwrap();
        relay.end().await;
        (passed, relay.is_marked())
    }

    #[tokio::test]
    async fn every_byte_is_passed_on_and_the_failing_line_is_found_between_long_ones() {
        let long = "x".repeat(100_000);
        let marked = format!("{long}\nlevel=error msg=\"test marked as failed: sold out\"\n\u{0}{long}");
        assert_eq!(passed_on(marked.as_bytes()).await, (marked.into_bytes(), true));
        let not = format!("{long}level=error msg=\"test marked as failed\"\n\nok");
        assert_eq!(passed_on(not.as_bytes()).await, (not.into_bytes(), false));
        assert_eq!(passed_on(b"").await, (Vec::new(), false));
    }
}
