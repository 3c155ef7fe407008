//! The version of a k6.

use std::fmt;
use std::str::FromStr;

/// A version of k6, without what follows the three numbers, such as `-rc1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number; 0 where a text has only two.
    pub patch: u32,
}

impl Version {
    /// A version, such as 1.4.0.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the output of `k6 version`, such as `k6 v1.1.0 (commit/0e3fb953be, go1.24.4, linux/amd64)`. The extensions
    /// of the binary may follow.
    pub fn printed(text: &str) -> Option<Self> {
        let words = text.lines().next()?.split_whitespace();
        words
            .filter_map(|word| word.strip_prefix('v'))
            .find_map(|word| word.parse().ok())
    }

    /// Reads the version from the log of a verbose k6, such as `k6 version: v1.1.0 (go1.24.3, linux/amd64)`. A k6 that
    /// starts another k6, with the extensions of a script, logs such a line as well. The last line counts, as it is of
    /// the k6 that runs the script.
    pub fn logged(log: &str) -> Option<Self> {
        let (_, text) = log.rsplit_once("k6 version: v")?;
        let end = text.find(|c: char| c.is_whitespace() || c == '"');
        text.get(..end.unwrap_or(text.len()))?.parse().ok()
    }
}

/// The text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version of k6, such as 1.4.0")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;

    /// Reads `1.4`, `1.4.0`, `v1.4.0` and `1.4.0-rc1`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let release = text.split(['-', '+']).next().unwrap_or(text);
        let mut numbers = release.split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), None, None) => Ok(Self::new(major, minor, 0)),
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Self::new(major, minor, patch)),
            _ => Err(VersionError),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn printed_version_is_read_with_and_without_extensions() {
        for (text, version) in [
            (
                "k6 v1.1.0 (commit/0e3fb953be, go1.24.4, linux/amd64)\n",
                Some(Version::new(1, 1, 0)),
            ),
            (
                "k6-2.2.0 v2.2.0 (commit/devel, go1.26.8, linux/amd64)",
                Some(Version::new(2, 2, 0)),
            ),
            (
                "k6 v0.57.0 (go1.23.6, linux/amd64)\nExtensions:\n  github.com/x/xk6-y v9.9.9, k6/x/y [js]\n",
                Some(Version::new(0, 57, 0)),
            ),
            ("k6 v2.0.0-rc1 (go1.26)", Some(Version::new(2, 0, 0))),
            ("k6 development", None),
            ("", None),
        ] {
            assert_eq!(Version::printed(text), version, "{text}");
        }
    }

    #[test]
    fn last_logged_version_is_that_of_the_k6_that_runs_the_script() {
        let line =
            |version: &str| format!("time=\"now\" level=debug msg=\"k6 version: {version} (go1.25)\"\n");
        let log = format!("{}level=info msg=other\n{}", line("v1.2.0"), line("v2.0.1"));
        assert_eq!(Version::logged(&log), Some(Version::new(2, 0, 1)));
        assert_eq!(
            Version::logged("msg=\"k6 version: v1.2.3\""),
            Some(Version::new(1, 2, 3))
        );
        assert_eq!(Version::logged("nothing"), None);
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let read = |text: &str| text.parse::<Version>().unwrap();
        assert!(read("1.10.0") > read("1.9.9"));
        assert_eq!(read("v1.4"), Version::new(1, 4, 0));
        for wrong in ["", "1", "1.2.3.4", "one.two", "1.2.x"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }
}
