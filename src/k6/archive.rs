//! Archives, which `k6 archive` makes: a tar with the main script as `data`, all that it imports and opens below `file/`
//! and `https/`, and the options in `metadata.json`. The main script stands among the others as a hard link to `data`.
//! <https://github.com/grafana/k6/blob/v2.2.0/lib/archive.go>

use memchr::memmem;
use serde_json::{Map, Value};
use std::io::{self, Read, Write};
use tar::{Archive, Builder, EntryType, Header};

/// The path of the main script in an archive.
const MAIN: &str = "data";
/// The file of an archive with its options and the path of its script.
const METADATA: &str = "metadata.json";
/// The name of the script that replaces the main one, in the same folder.
const AROUND: &str = "k6-operator-around.js";

/// Options for the amount of load, and the thresholds.
const OF_LOAD: [&str; 9] = [
    "duration",
    "executionSegment",
    "executionSegmentSequence",
    "iterations",
    "minIterationDuration",
    "scenarios",
    "stages",
    "thresholds",
    "vus",
];

/// Returns the archive with another main script, whose source `make` returns for the path of the present one. The
/// present one stays in the archive, where the new one can import it by that path. Options for load and thresholds are
/// removed.
///
/// Fails if the archive can't be read, or is not one of k6's.
pub fn with_main(archive: impl Read, make: impl FnOnce(&str) -> String) -> io::Result<Vec<u8>> {
    let mut new_archive = Builder::new(Vec::new());
    let mut make = Some(make);
    let mut around = None;
    let mut main = Vec::new();
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let header = entry.header().clone();
        let path = entry.path()?.into_owned();
        if path.as_os_str() == METADATA {
            let mut metadata: Map<String, Value> = serde_json::from_reader(&mut entry)?;
            let (main, new_main) = renamed(&mut metadata)?;
            around = make.take().map(|make| (new_main, make(&main)));
            append(&mut new_archive, METADATA, &serde_json::to_vec(&metadata)?)?;
        } else if path.as_os_str() == MAIN {
            entry.read_to_end(&mut main)?;
            let (_, source) = around
                .as_ref()
                .ok_or_else(|| invalid("the options stand behind the script"))?;
            append(&mut new_archive, MAIN, source.as_bytes())?;
        } else if header.entry_type() == EntryType::Link {
            append(&mut new_archive, path, &main)?;
        } else {
            let mut header = header;
            new_archive.append_data(&mut header, path, &mut entry)?;
        }
    }
    let (path, source) = around.ok_or_else(|| invalid("it has no metadata.json"))?;
    append(&mut new_archive, path, source.as_bytes())?;
    let mut bytes = new_archive.into_inner()?;
    bytes.flush()?;
    Ok(bytes)
}

/// Whether one of these words is in a script, a module or another file of an archive. Its options don't count.
pub fn files_name_any(archive: impl Read, words: &[&str]) -> io::Result<bool> {
    for entry in Archive::new(archive).entries()? {
        let entry = entry?;
        if entry.path()?.as_os_str() != METADATA && names_any(entry, words)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one of these words is anywhere in an archive: in a script, a module, another file or the options.
pub fn names_any(mut archive: impl Read, words: &[&str]) -> io::Result<bool> {
    let kept = words.iter().map(|word| word.len()).max().unwrap_or_default();
    let mut held = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = archive.read(&mut piece)?;
        if read == 0 {
            return Ok(false);
        }
        // A word may begin in one piece and end in the next.
        held.drain(..held.len().saturating_sub(kept));
        held.extend(piece.iter().take(read));
        let is_there = |word: &&str| memmem::find(&held, word.as_bytes()).is_some();
        if words.iter().any(is_there) {
            return Ok(true);
        }
    }
}

/// Sets another main script in the metadata. Returns the path of the present one, and that of the new one in the
/// archive.
fn renamed(metadata: &mut Map<String, Value>) -> io::Result<(String, String)> {
    let Some(Value::String(url)) = metadata.get("filename").cloned() else {
        return Err(invalid("it does not name its script"));
    };
    let (folder, _) = url
        .rsplit_once('/')
        .ok_or_else(|| invalid("its script has no folder"))?;
    let new = format!("{folder}/{AROUND}");
    let in_archive = new
        .split_once("://")
        .map(|(scheme, path)| format!("{scheme}/{}", path.trim_start_matches('/')))
        .ok_or_else(|| invalid("its script has no URL"))?;
    metadata.insert("filename".to_owned(), Value::String(new));
    if let Some(Value::Object(options)) = metadata.get_mut("options") {
        for option in OF_LOAD {
            options.remove(option);
        }
    }
    Ok((url.strip_prefix("file://").unwrap_or(&url).to_owned(), in_archive))
}

fn append(to: &mut Builder<Vec<u8>>, path: impl AsRef<std::path::Path>, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
    to.append_data(&mut header, path, content)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("this is no archive of k6: {why}"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Builder, Header, append, files_name_any, names_any, with_main};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::io::Read;

    fn files(archive: &[u8]) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn archive(metadata: &Value) -> Vec<u8> {
        let mut made = Builder::new(Vec::new());
        append(&mut made, "metadata.json", metadata.to_string().as_bytes()).unwrap();
        append(&mut made, "data", b"the script").unwrap();
        append(&mut made, "file/test/dep.js", b"a neighbour").unwrap();
        let mut link = Header::new_gnu();
        link.set_entry_type(tar::EntryType::Link);
        link.set_size(0);
        made.append_link(&mut link, "file/test/test.js", "data").unwrap();
        made.into_inner().unwrap()
    }

    #[test]
    fn words_of_files_are_not_those_of_the_options() {
        let archive = archive(&json!({ "options": { "systemTags": ["group"] } }));
        let named = |word: &str| files_name_any(archive.as_slice(), &[word]).unwrap();
        assert!(named("the script") && named("neighbour") && !named("group"));
        assert!(names_any(archive.as_slice(), &["group"]).unwrap());
        assert!(files_name_any(&archive[..700], &["group"]).is_err());
    }

    #[test]
    fn words_are_found_wherever_they_stand_in_an_archive() {
        for before in [0, 1, 65_530, 65_531, 65_535, 65_536, 70_000, 200_000] {
            let text = [vec![b' '; before], b"a_word".to_vec(), vec![b' '; 9]].concat();
            assert!(
                names_any(text.as_slice(), &["none", "a_word"]).unwrap(),
                "{before}"
            );
            assert!(
                !names_any(text.as_slice(), &["none", "a_words"]).unwrap(),
                "{before}"
            );
        }
        assert!(!names_any(&b""[..], &["a", "b"]).unwrap());
    }

    #[test]
    fn archive_with_another_main_script_keeps_the_first_to_be_imported() {
        let metadata = json!({
            "type": "js",
            "filename": "file:///test/test.js",
            "pwd": "file:///test/",
            "options": {"vus": 3, "iterations": 9, "thresholds": {"checks": ["rate==1"]}, "userAgent": "x"},
            "env": {"A": "1"},
        });
        let made = with_main(&archive(&metadata)[..], |main| format!("around {main}")).unwrap();
        let mut files = files(&made);
        let metadata: Value = serde_json::from_str(&files.remove("metadata.json").unwrap()).unwrap();
        assert_eq!(
            metadata,
            json!({
                "type": "js",
                "filename": "file:///test/k6-operator-around.js",
                "pwd": "file:///test/",
                "options": {"userAgent": "x"},
                "env": {"A": "1"},
            })
        );
        let expected = [
            ("data", "around /test/test.js"),
            ("file/test/dep.js", "a neighbour"),
            ("file/test/k6-operator-around.js", "around /test/test.js"),
            ("file/test/test.js", "the script"),
        ];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(files, BTreeMap::from(expected));
    }

    #[test]
    fn what_is_no_archive_of_k6_is_an_error_that_says_so() {
        let error = |archive: &[u8]| with_main(archive, str::to_owned).unwrap_err().to_string();
        assert!(error(&archive(&json!({}))).contains("does not name its script"));
        assert!(error(&archive(&json!({"filename": "test.js"}))).contains("has no folder"));
        assert!(error(b"").contains("has no metadata.json"));
        error(&[7; 2048]);
    }
}
