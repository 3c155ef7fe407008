//! The HTTP side of the API server: paths, verbs, parameters and answers, on a [`Store`]. No clock, no I/O.
//!
//! What the operator uses is here, as Kubernetes does it. Server-side apply and strategic merges are not: they
//! are answered with 415.

use super::store::{Change, How, Key, Refused, Store, Table, is_leaving, label, text, time, uid, version};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// How a request is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Log,
    Create,
    Replace,
    ReplaceStatus,
    Patch,
    Delete,
}

impl Verb {
    pub fn is_write(self) -> bool {
        match self {
            Self::Get | Self::List | Self::Watch | Self::Log => false,
            Self::Create | Self::Replace | Self::ReplaceStatus | Self::Patch | Self::Delete => true,
        }
    }
}

/// A request, understood.
#[derive(Clone, Debug)]
pub struct Request {
    pub verb: Verb,
    pub table: Table,
    /// Empty: all.
    pub namespace: String,
    /// Empty for what is asked of many, or made.
    pub name: String,
    pub query: Query,
    pub body: Value,
    pub content_type: String,
}

/// The parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub labels: String,
    pub fields: String,
    /// How many lines of a log are asked for.
    pub tail: u64,
    /// How many bytes of a log are asked for.
    pub limit_bytes: u64,
    pub limit: Option<usize>,
    pub continue_: String,
    pub version: String,
    pub bookmarks: bool,
    pub timeout_seconds: Option<u64>,
    watch: bool,
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(high) * 16 + digit(low));
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match name {
                "labelSelector" => query.labels = value,
                "fieldSelector" => query.fields = value,
                "tailLines" => query.tail = value.parse().unwrap_or_default(),
                "limitBytes" => query.limit_bytes = value.parse().unwrap_or_default(),
                "limit" => query.limit = value.parse().ok().filter(|limit| *limit > 0),
                "continue" => query.continue_ = value,
                "resourceVersion" => query.version = value,
                "allowWatchBookmarks" => query.bookmarks = value == "true",
                "timeoutSeconds" => query.timeout_seconds = value.parse().ok(),
                "watch" => query.watch = value == "true",
                _ => {}
            }
        }
        query
    }
}

impl Request {
    /// Reads a request; one that is not understood is answered with 404 or 405, as by an API server without it.
    pub fn parse(
        method: &str,
        path: &str,
        query: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Self, Refused> {
        let unknown = || {
            Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        };
        let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(unknown()),
        };
        let (namespace, plural, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] => (*namespace, *plural, rest),
            [plural, rest @ ..] => ("", *plural, rest),
            [] => return Err(unknown()),
        };
        let table = Table::parse(group, version, plural).ok_or_else(unknown)?;
        let query = Query::parse(query);
        let (name, sub) = match rest {
            [] => ("", ""),
            [name] => (*name, ""),
            [name, sub] => (*name, *sub),
            _ => return Err(unknown()),
        };
        let verb = match (method, name, sub) {
            ("GET", "", _) if query.watch => Verb::Watch,
            ("GET", "", _) => Verb::List,
            ("GET", _, "log") if table == Table::Pods => Verb::Log,
            ("GET", _, "" | "status") => Verb::Get,
            ("POST", "", _) => Verb::Create,
            ("PUT", _, "") => Verb::Replace,
            ("PUT", _, "status") if table.has_status() => Verb::ReplaceStatus,
            ("PATCH", _, "") => Verb::Patch,
            ("DELETE", _, "") if !name.is_empty() => Verb::Delete,
            _ => {
                return Err(Refused::new(
                    405,
                    "MethodNotAllowed",
                    "the server does not allow this method on the requested resource",
                ));
            }
        };
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Refused::new(400, "BadRequest", error.to_string()))?
        };
        Ok(Self {
            verb,
            table,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            query,
            body,
            content_type: content_type.to_owned(),
        })
    }

    /// The object that it is about.
    pub fn key(&self) -> Key {
        let name = if self.verb == Verb::Create {
            text(&self.body, "/metadata/name")
        } else {
            &self.name
        };
        Key::new(self.table, &self.namespace, name)
    }
}

/// What is done to an object that is to be deleted: who else has to know is the cluster's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone, and what it owns follows.
    Background,
    /// What it owns goes first.
    Foreground,
    /// Its containers are told to end first.
    Graceful,
}

/// An answer, and what follows from it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Arc<Value>,
    /// Set if the object was told to go, and is there still.
    pub deletion: Option<(Key, Deletion)>,
}

impl Answer {
    fn ok(code: u16, body: Arc<Value>) -> Self {
        Self {
            code,
            body,
            deletion: None,
        }
    }

    pub fn refused(refused: &Refused) -> Self {
        Self::ok(refused.code, Arc::new(refused.status()))
    }
}

/// Whether an object is one of those that a selector asks for.
pub fn selected(object: &Value, query: &Query) -> bool {
    let parts = |text: &str| -> Vec<String> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let by_label = parts(&query.labels)
        .iter()
        .all(|part| match part.split_once('=') {
            Some((name, value)) => label(object, name) == Some(value.trim_start_matches('=')),
            None => label(object, part).is_some(),
        });
    let by_field = parts(&query.fields)
        .iter()
        .all(|part| match part.split_once('=') {
            Some((field, value)) => text(object, &format!("/{}", field.replace('.', "/"))) == value,
            None => true,
        });
    by_label && by_field
}

/// Carries out a request on the objects; watches and logs are not answered here.
pub fn answer(store: &mut Store, request: &Request, now: Timestamp) -> Answer {
    carried_out(store, request, now).unwrap_or_else(|refused| Answer::refused(&refused))
}

fn carried_out(store: &mut Store, request: &Request, now: Timestamp) -> Result<Answer, Refused> {
    let key = request.key();
    // As manifests/rbac/role.yaml has it.
    if request.table == Table::Secrets && request.verb != Verb::Create {
        return Err(Refused::new(403, "Forbidden", "secrets can only be created"));
    }
    match request.verb {
        Verb::Get => {
            let object = store.get(&key).cloned().ok_or_else(|| Refused::not_found(&key))?;
            Ok(Answer::ok(200, object))
        }
        Verb::List => list(store, request),
        Verb::Create => Ok(Answer::ok(
            201,
            store.create(&key, typed(request.body.clone(), request.table), now)?,
        )),
        Verb::Replace => Ok(Answer::ok(
            200,
            store.replace(&key, typed(request.body.clone(), request.table))?,
        )),
        Verb::ReplaceStatus => Ok(Answer::ok(200, store.replace_status(&key, &request.body)?)),
        Verb::Patch if request.content_type == "application/merge-patch+json" => {
            let before = store.get(&key).cloned().ok_or_else(|| Refused::not_found(&key))?;
            let mut object = (*before).clone();
            merge(&mut object, &request.body);
            Ok(Answer::ok(200, store.replace(&key, object)?))
        }
        Verb::Patch => Err(Refused::new(
            415,
            "UnsupportedMediaType",
            format!(
                "{} is not supported here: only application/merge-patch+json is",
                request.content_type
            ),
        )),
        Verb::Delete => delete(store, request, &key, now),
        Verb::Watch | Verb::Log => Err(Refused::new(
            500,
            "InternalError",
            "answered by whoever holds the connections",
        )),
    }
}

fn typed(mut object: Value, table: Table) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert("apiVersion".to_owned(), json!(table.api_version()));
        fields.insert("kind".to_owned(), json!(table.kind()));
    }
    object
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(fields) = target {
        for (name, value) in patch {
            if value.is_null() {
                fields.remove(name);
            } else {
                merge(fields.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// A page of a list. A page that is continued is of the objects as they are by then: the operator's lists are
/// shorter than its pages.
fn list(store: &Store, request: &Request) -> Result<Answer, Refused> {
    let query = &request.query;
    let from = match query.continue_.as_str() {
        "" => 0,
        token => token
            .parse::<usize>()
            .map_err(|_| Refused::new(400, "BadRequest", "continue key is not valid"))?,
    };
    let found = store.all(request.table).filter(|(key, object)| {
        (request.namespace.is_empty() || key.namespace == request.namespace) && selected(object, query)
    });
    let found: Vec<&Arc<Value>> = found.map(|(_, object)| object).skip(from).collect();
    let limit = query.limit.unwrap_or(usize::MAX);
    let mut metadata = json!({"resourceVersion": store.version().to_string()});
    if found.len() > limit
        && let Value::Object(metadata) = &mut metadata
    {
        metadata.insert("continue".to_owned(), json!((from + limit).to_string()));
        metadata.insert("remainingItemCount".to_owned(), json!(found.len() - limit));
    }
    let items: Vec<Value> = found.into_iter().take(limit).map(|o| (**o).clone()).collect();
    Ok(Answer::ok(
        200,
        Arc::new(json!({
            "apiVersion": request.table.api_version(),
            "kind": format!("{}List", request.table.kind()),
            "metadata": metadata,
            "items": items,
        })),
    ))
}

fn delete(store: &mut Store, request: &Request, key: &Key, now: Timestamp) -> Result<Answer, Refused> {
    let object = store.get(key).cloned().ok_or_else(|| Refused::not_found(key))?;
    let precondition = |field: &str| {
        let value = text(&request.body, &format!("/preconditions/{field}"));
        (!value.is_empty()).then(|| value.to_owned())
    };
    if let Some(expected) = precondition("uid").filter(|expected| expected != uid(&object)) {
        return Err(Refused::precondition(
            key,
            &format!(
                "the UID in the precondition ({expected}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                uid(&object)
            ),
        ));
    }
    if let Some(expected) =
        precondition("resourceVersion").filter(|expected| *expected != version(&object).to_string())
    {
        return Err(Refused::precondition(
            key,
            &format!(
                "the ResourceVersion in the precondition ({expected}) does not match the ResourceVersion in record ({}). The object might have been modified",
                version(&object)
            ),
        ));
    }
    let deletion = match (key.table, text(&request.body, "/propagationPolicy")) {
        (Table::Pods, _) => Deletion::Graceful,
        (_, "Foreground") => Deletion::Foreground,
        _ => Deletion::Background,
    };
    if deletion == Deletion::Background {
        store.remove(key);
        return Ok(Answer::ok(
            200,
            Arc::new(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {
                    "name": key.name, "group": key.table.group(), "kind": key.table.plural(), "uid": uid(&object)
                }
            })),
        ));
    }
    if is_leaving(&object) {
        return Ok(Answer::ok(200, object));
    }
    let marked = store.mutate(key, |object| mark_leaving(object, deletion, now));
    let object = marked.unwrap_or(object);
    Ok(Answer {
        code: 200,
        body: object,
        deletion: Some((key.clone(), deletion)),
    })
}

/// Marks an object that is to go.
pub fn mark_leaving(object: &mut Value, deletion: Deletion, now: Timestamp) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return;
    };
    metadata.insert("deletionTimestamp".to_owned(), time(now));
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    match deletion {
        Deletion::Foreground => {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
            metadata.insert("finalizers".to_owned(), json!(["foregroundDeletion"]));
        }
        Deletion::Graceful => {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(30));
        }
        Deletion::Background => {}
    }
}

/// How a change looks to a watch with a selector: an object that is not selected any more is gone for it.
pub fn seen_as(change: &Change, query: &Query) -> Option<&'static str> {
    let now = selected(&change.object, query);
    let before = change
        .before
        .as_ref()
        .is_some_and(|object| selected(object, query));
    match (change.how, before, now) {
        (How::Deleted, true, _) | (How::Modified, true, false) => Some("DELETED"),
        (How::Added, _, true) | (How::Modified, false, true) => Some("ADDED"),
        (How::Modified, true, true) => Some("MODIFIED"),
        (How::Added, _, false) | (How::Modified, false, false) | (How::Deleted, false, _) => None,
    }
}

/// One line of a watch.
pub fn line(type_: &str, object: &Value) -> Vec<u8> {
    let mut line = format!("{{\"type\":\"{type_}\",\"object\":").into_bytes();
    if serde_json::to_writer(&mut line, object).is_ok() {
        line.extend_from_slice(b"}\n");
    }
    line
}

/// The line that says how far the watch has come.
pub fn bookmark(table: Table, version: u64) -> Vec<u8> {
    let object = json!({
        "apiVersion": table.api_version(), "kind": table.kind(),
        "metadata": {"resourceVersion": version.to_string()}
    });
    line("BOOKMARK", &object)
}

/// What a watch of a version that is not known any more gets.
pub fn expired(asked: u64, now: u64) -> Refused {
    Refused::new(
        410,
        "Expired",
        format!("too old resource version: {asked} ({now})"),
    )
}
