//! How k6 prints numbers in its summary. <https://github.com/grafana/k6/blob/v1.1.0/internal/js/summary.js>

/// Prints at most `digits` digits after the point, without zeros at the end.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    // Rounded from a value just below zero.
    if text == "-0" { "0".to_owned() } else { text }
}

/// Prints a number with at most six digits after the point.
pub fn number(value: f64) -> String {
    trimmed(value, 6)
}

/// Prints a share as a percentage: `12.34%`, cut off after two digits.
pub fn percent(share: f64) -> String {
    format!("{}%", trimmed((share * 1e4).floor() / 100.0, 2))
}

/// Prints a rate per second.
pub fn per_second(count: f64, seconds: f64) -> String {
    format!("{}/s", number(if seconds > 0.0 { count / seconds } else { 0.0 }))
}

/// Prints a time in ms as k6 does: in the given unit (s, ms or us), or in the units that suit its size.
/// <https://github.com/grafana/k6/blob/v1.1.0/internal/js/summary.js>
pub fn time(ms: f64, unit: Option<&str>) -> String {
    match unit {
        Some("s") => return format!("{}s", to_fixed(ms * 0.001, 2)),
        Some("ms") => return format!("{}ms", to_fixed(ms, 2)),
        Some("us") => return format!("{}µs", to_fixed(ms * 1e3, 2)),
        Some(_) | None => {}
    }
    if ms == 0.0 {
        return "0s".to_owned();
    }
    if ms < 0.001 {
        return format!("{}ns", (ms * 1e6).trunc() + 0.0);
    }
    if ms < 1.0 {
        return format!("{}µs", truncated(ms * 1e3, 2));
    }
    if ms < 1e3 {
        return format!("{}ms", truncated(ms, 2));
    }
    let seconds = truncated((ms % 60e3) / 1e3, if ms > 60e3 { 0 } else { 2 });
    let minutes = (ms / 60e3).trunc();
    let hours = (minutes / 60.0).trunc();
    if minutes < 1.0 {
        format!("{seconds}s")
    } else if hours < 1.0 {
        format!("{minutes}m{seconds}s")
    } else {
        format!("{hours}h{}m{seconds}s", minutes % 60.0)
    }
}

/// Cuts off after `digits` digits, as k6 does, without zeros at the end.
fn truncated(value: f64, digits: usize) -> String {
    let scale = if digits == 0 { 1.0 } else { 100.0 };
    trimmed((value * scale).trunc() / scale, digits)
}

/// JavaScript's `toFixed`: rounds a value exactly in the middle away from zero.
fn to_fixed(value: f64, digits: usize) -> String {
    let exact = format!("{value:.60}");
    let rest = exact.split_once('.').and_then(|(_, part)| part.get(digits..));
    let in_the_middle = rest.is_some_and(|rest| rest.trim_end_matches('0') == "5");
    let value = if in_the_middle {
        value.abs().next_up().copysign(value)
    } else {
        value
    };
    format!("{value:.digits$}")
}

/// Prints a number of bytes.
pub fn bytes(count: f64) -> String {
    let mut value = count;
    for unit in ["B", "kB", "MB", "GB"] {
        if value.abs() < 1e3 {
            let digits = usize::from(unit != "B" && value.abs() < 10.0);
            return format!("{} {unit}", trimmed(value, digits));
        }
        value /= 1e3;
    }
    format!("{} TB", trimmed(value, 1))
}
