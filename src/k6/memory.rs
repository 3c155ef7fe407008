//! How much memory k6 may use before it collects garbage. k6 is a Go program, so the variables of Go's runtime say that.
//! Pure.
//! <https://go.dev/doc/gc-guide>
//!
//! A k6 that exports its metrics makes more garbage for each sample than one that does not. With Go's default, which
//! collects when the heap has doubled, the collections cost more than the export itself.

/// The variable for how much the heap may grow between two collections, in percent of what is in use.
pub const GROWTH: &str = "GOGC";
/// The variable for the memory from which on the runtime collects earlier.
pub const LIMIT: &str = "GOMEMLIMIT";

/// The growth in percent. Go's default is 100. The heap is then about twice that of a k6 with the default, and is
/// collected less than a third as often.
const PERCENT: u32 = 330;

/// The variables for a k6 whose container may use this many bytes of memory. None are set if the user has set one.
///
/// The limit keeps a k6 from being killed for garbage that it has not collected. It leaves a tenth of the container's
/// memory to whatever else is in there: this program, and files in memory. A k6 that needs more than that goes on, but
/// collects more often.
pub fn settings(
    container: Option<u64>,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String)> {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    if is_set(GROWTH) || is_set(LIMIT) {
        return Vec::new();
    }
    let limit = container.map(|bytes| (LIMIT, (bytes / 10 * 9).to_string()));
    [(GROWTH, PERCENT.to_string())].into_iter().chain(limit).collect()
}

/// The number of bytes from which on a limit is none: without a limit, version 1 of cgroups reports the largest number
/// of pages.
const NO_LIMIT: u64 = 1 << 60;

/// The limit that a file of the container's cgroup reports, in bytes; None if there is no limit.
/// <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>
pub fn limit_of(file: &str) -> Option<u64> {
    file.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::{limit_of, settings};

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn k6_keeps_a_distance_from_the_limit_of_its_container() {
        let given = settings(Some(100 * MIB), |_| None);
        let expected = [("GOGC", "330".to_owned()), ("GOMEMLIMIT", (90 * MIB).to_string())];
        assert_eq!(given, expected);
        assert_eq!(settings(None, |_| None), [("GOGC", "330".to_owned())]);
    }

    #[test]
    fn nothing_is_set_beside_what_the_user_has_set() {
        for name in ["GOGC", "GOMEMLIMIT"] {
            let variable = |value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
            assert!(settings(Some(MIB), variable("50")).is_empty());
            // Go reads an empty variable as one that is not set.
            assert_eq!(settings(None, variable("")).len(), 1);
        }
    }

    #[test]
    fn limit_is_what_either_version_of_cgroups_reports() {
        assert_eq!(limit_of("268435456\n"), Some(256 * MIB));
        for none in ["max\n", "9223372036854771712\n", "", "-1"] {
            assert_eq!(limit_of(none), None, "{none:?}");
        }
    }
}
