//! What k6's log says, in one line.

/// The message of the last error in a piece of k6's log, or its last line that tells more than the progress.
///
/// k6 logs in logfmt: `time="..." level=error msg="..." hint="..."`. Its progress, where that is not left out by
/// `--quiet`, is `running (0m01.7s), 03/50 VUs, ...` and a line such as `default [   3% ] 03/50 VUs  0m01.7s/1m00.0s`
/// for each scenario.
pub fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_progress(line))
        .collect();
    let error = lines
        .iter()
        .rev()
        .find_map(|line| line.contains("level=error").then(|| message(line)).flatten());
    let words = error
        .or_else(|| lines.last().map(|line| (*line).to_owned()))
        .unwrap_or_default();
    let one_line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().take(500).collect()
}

fn is_progress(line: &str) -> bool {
    let percent = |(_, rest): (&str, &str)| {
        rest.split_once("% ]")
            .is_some_and(|(number, _)| is_number(number))
    };
    line.starts_with("running (") && line.contains(" VUs, ") || line.split_once(" [").is_some_and(percent)
}

fn is_number(text: &str) -> bool {
    text.trim_start().chars().all(|c| c.is_ascii_digit())
}

fn message(line: &str) -> Option<String> {
    let quoted = line.split_once("msg=\"")?.1;
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' | 't' | 'r' => text.push(' '),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_last_error_is_told_without_its_frame() {
        let log = "time=\"2026-01-01T00:00:00Z\" level=error msg=\"GoError: file:///test/bad.js: Line 2:7 \
                   Unexpected token ; (and 2 more \\\"errors\\\")\\n\" hint=\"script exception\"\n";
        let words = last_words(log);
        assert_eq!(
            words,
            "GoError: file:///test/bad.js: Line 2:7 Unexpected token ; (and 2 more \"errors\")"
        );
    }

    #[test]
    fn progress_is_no_last_word() {
        let progress = "running (0m01.7s), 03/50 VUs, 13 complete and 0 interrupted iterations\n\
                        default   [   3% ] 03/50 VUs  0m01.7s/1m00.0s\n\
                        Run       [ 100% ] paused\n";
        assert_eq!(last_words(&format!("panic: no\n\n{progress}")), "panic: no");
        assert_eq!(last_words(progress), "");
        assert_eq!(last_words("a [list] of 3% ] things"), "a [list] of 3% ] things");
    }

    #[test]
    fn without_an_error_the_last_line_is_told() {
        assert_eq!(last_words("one\n\n  two  \n"), "two");
        assert_eq!(last_words(""), "");
    }
}
