//! A long text in a container's log. Pure.
//!
//! A container runtime writes a line of more than 16 KiB in parts, between which lines of the other stream can come:
//! so it is said in short lines, each with a mark.
//! <https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>

/// What each line begins with, as far as it is ours.
pub(super) const MARK: &str = "k6-operator-summary:";

/// The longest piece, in bytes.
pub(super) const LONGEST: usize = 4096;

/// The text, which must have no line ends, in lines.
pub fn lines(text: &str) -> String {
    let mut lines = String::new();
    let mut room = 0;
    for c in text.chars() {
        if c.len_utf8() > room {
            lines.push('\n');
            lines.push_str(MARK);
            room = LONGEST;
        }
        room -= c.len_utf8();
        lines.push(c);
    }
    lines.push('\n');
    lines
}

/// The text that stands in a log; nothing if there is none.
pub fn joined(log: &str) -> Option<String> {
    let pieces: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.rsplit_once(MARK)?.1))
        .collect();
    (!pieces.is_empty()).then(|| pieces.concat())
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, joined, lines};

    #[test]
    fn a_text_is_read_from_a_log_with_lines_of_others_in_between() {
        let text = format!("{}ü{}", "x".repeat(LONGEST - 1), "y".repeat(2 * LONGEST));
        let log = lines(&text);
        assert!(log.lines().all(|line| line.len() < 8192));
        let log = log.replace('\n', "\na line\nthe beginning of another: ");
        assert_eq!(joined(&log), Some(text));
        assert_eq!(joined("a line\n"), None);
    }
}
