//! Golden files.

use std::path::Path;

/// Fails unless the file says exactly this. With `UPDATE=1` in the environment it is written anew.
pub fn golden(path: &str, text: &str, remedy: &str) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&full).unwrap_or_default();
    let line = found.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        found == text,
        "{path} is stale (first difference: line {}): {remedy}\nin the file:   {:?}\nfrom the code: {:?}",
        line.map_or_else(|| "past the end".to_owned(), |i| (i + 1).to_string()),
        line.and_then(|i| found.lines().nth(i)),
        line.and_then(|i| text.lines().nth(i)),
    );
}
