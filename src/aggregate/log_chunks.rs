//! Long texts in a container's log. Pure.
//!
//! A container runtime splits a line of more than 16 KiB, and lines of the other stream can come between its parts. So
//! a text is printed in short lines, each with a mark.
//! <https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>

/// The beginning of each line of a text.
pub(super) const MARK: &str = "k6-operator-summary:";

/// The longest piece in a line, in bytes.
pub(super) const LONGEST: usize = 4096;

/// Splits a text without line ends into marked lines.
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

/// Joins the marked lines of a log. None if there are none.
pub fn joined(log: &str) -> Option<String> {
    let pieces: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.rsplit_once(MARK)?.1))
        .collect();
    (!pieces.is_empty()).then(|| pieces.concat())
}

/// The beginning of each line of a document that the aggregator prints. The line's number and the number of lines
/// follow.
const FRAME: &str = "k6-operator-result:";

/// Splits a text without line ends into numbered lines, so that a reader knows whether it has all of them.
pub fn framed(text: &str) -> String {
    let mut chunks = vec![String::new()];
    for c in text.chars() {
        if let Some(last) = chunks.last_mut()
            && last.len() + c.len_utf8() <= LONGEST
        {
            last.push(c);
        } else {
            chunks.push(c.to_string());
        }
    }
    let of = chunks.len();
    let line = |(i, chunk): (usize, &String)| format!("{FRAME}{}/{of}:{chunk}\n", i + 1);
    chunks.iter().enumerate().map(line).collect()
}

/// Joins the last complete text in a log.
pub fn unframed(log: &str) -> Option<String> {
    let mut whole = None;
    let mut text = String::new();
    let mut before = 0;
    for line in log.lines() {
        let Some(((number, of), chunk)) = line
            .rsplit_once(FRAME)
            .and_then(|(_, line)| line.split_once(':'))
            .and_then(|(place, chunk)| Some((place.split_once('/')?, chunk)))
        else {
            continue;
        };
        let (Ok(number), Ok(of)) = (number.parse::<usize>(), of.parse::<usize>()) else {
            continue;
        };
        if number == 1 {
            text.clear();
            before = 0;
        }
        if number != before + 1 {
            // A line before this one is missing.
            before = usize::MAX - 1;
            continue;
        }
        text.push_str(chunk);
        before = number;
        if number == of {
            whole = Some(std::mem::take(&mut text));
            before = usize::MAX - 1;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, framed, joined, lines, unframed};

    #[test]
    fn framed_text_is_read_from_a_log_only_as_a_whole_and_the_last_counts() {
        let text = format!("{}ü:1/2:{}", "x".repeat(LONGEST - 1), "y".repeat(2 * LONGEST));
        let frame = framed(&text);
        assert_eq!(frame.lines().count(), 4);
        let noise = frame.replace('\n', "\na line\nthe beginning of another: ");
        assert_eq!(unframed(&noise), Some(text.clone()));
        let later = framed("{}");
        assert_eq!(unframed(&format!("{frame}{later}")).as_deref(), Some("{}"));
        assert_eq!(unframed(&format!("{later}{frame}")), Some(text.clone()));
        let lines: Vec<&str> = frame.lines().collect();
        for missing in 0..lines.len() {
            let mut cut = lines.clone();
            cut.remove(missing);
            assert_eq!(unframed(&cut.join("\n")), None, "without line {missing}");
            // The document before is complete.
            let before = format!("{later}{}", cut.join("\n"));
            assert_eq!(unframed(&before).as_deref(), Some("{}"), "without line {missing}");
        }
        assert_eq!(unframed("a line\n"), None);
        assert_eq!(unframed(&framed("")).as_deref(), Some(""));
    }

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
