//! The size of a spec, which must leave room for the status in etcd.

use super::spec_error::SpecError;
use crate::api::Spec;
use serde::Serialize;
use serde_json::Value;
use std::io;

/// The maximum size of a spec as JSON, in bytes. etcd takes at most 1.5 MiB in a request (`--max-request-bytes`). A
/// resource is one request: the spec, up to 256 KiB of annotations, which users may add at any time, and the status.
/// <https://etcd.io/docs/v3.5/dev-guide/limit/>
pub(super) const SPEC_LIMIT: usize = 1_100_000;

fn json_size(value: &impl Serialize) -> usize {
    let mut size = Size(0);
    // Neither serializing a spec nor counting can fail.
    let _ = serde_json::to_writer(&mut size, value);
    size.0
}

/// Counts the bytes that are written to it.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses a spec that is too large, and names the field that takes most of it.
pub(super) fn check_size(spec: &Spec) -> Result<(), SpecError> {
    let bytes = json_size(spec);
    if bytes <= SPEC_LIMIT {
        return Ok(());
    }
    let mut found = serde_json::to_value(spec).unwrap_or_default();
    let (mut field, mut of_field) = ("spec".to_owned(), bytes);
    // Descends as long as one field has more than half of the bytes.
    loop {
        let inner: Vec<(String, Value)> = match found {
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (format!(".{name}"), value))
                .collect(),
            Value::Array(list) => list
                .into_iter()
                .enumerate()
                .map(|(i, value)| (format!("[{i}]"), value))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        let sized = inner
            .into_iter()
            .map(|(name, value)| (json_size(&value), name, value));
        match sized.max_by_key(|(size, ..)| *size) {
            Some((size, name, value)) if size > of_field / 2 => {
                (field, of_field, found) = (field + &name, size, value);
            }
            Some(_) | None => {
                return Err(SpecError::TooLarge {
                    bytes,
                    field,
                    of_field,
                });
            }
        }
    }
}
