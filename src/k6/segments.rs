//! Execution segments: <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#execution-segment>

fn fraction(i: u32, n: u32) -> String {
    match i {
        0 => "0".to_owned(),
        i if i == n => "1".to_owned(),
        i => format!("{i}/{n}"),
    }
}

/// The segment of runner `i` (1 to n).
pub fn segment(i: u32, n: u32) -> String {
    format!("{}:{}", fraction(i.saturating_sub(1), n), fraction(i, n))
}

/// The sequence of all segments, the same for every runner.
pub fn sequence(n: u32) -> String {
    let points: Vec<String> = (0..=n).map(|i| fraction(i, n)).collect();
    points.join(",")
}
