//! The objects of a cluster as the API server keeps them: one version for all, and a log of what changed.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many changes are kept for watches that come late.
const LOG_LIMIT: usize = 4096;

/// The resources that are served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    K6s,
    TestRuns,
    Jobs,
    Pods,
    ConfigMaps,
    Secrets,
    Services,
    /// `v1`: what the kubelet and the scheduler say.
    CoreEvents,
    /// `events.k8s.io/v1`: what the operator says. Kubernetes keeps both in one place; nothing here depends on it.
    Events,
    Leases,
}

impl Table {
    pub const ALL: [Self; 10] = [
        Self::K6s,
        Self::TestRuns,
        Self::Jobs,
        Self::Pods,
        Self::ConfigMaps,
        Self::Secrets,
        Self::Services,
        Self::CoreEvents,
        Self::Events,
        Self::Leases,
    ];

    /// Group, version, plural and kind.
    fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::K6s => ("k6.io", "v1alpha1", "k6s", "K6"),
            Self::TestRuns => ("k6.io", "v1alpha1", "testruns", "TestRun"),
            Self::Jobs => ("batch", "v1", "jobs", "Job"),
            Self::Pods => ("", "v1", "pods", "Pod"),
            Self::ConfigMaps => ("", "v1", "configmaps", "ConfigMap"),
            Self::Secrets => ("", "v1", "secrets", "Secret"),
            Self::Services => ("", "v1", "services", "Service"),
            Self::CoreEvents => ("", "v1", "events", "Event"),
            Self::Events => ("events.k8s.io", "v1", "events", "Event"),
            Self::Leases => ("coordination.k8s.io", "v1", "leases", "Lease"),
        }
    }

    pub fn group(self) -> &'static str {
        self.names().0
    }

    pub fn plural(self) -> &'static str {
        self.names().2
    }

    pub fn kind(self) -> &'static str {
        self.names().3
    }

    pub fn api_version(self) -> String {
        match self.names() {
            ("", version, ..) => version.to_owned(),
            (group, version, ..) => format!("{group}/{version}"),
        }
    }

    pub fn parse(group: &str, version: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|table| (group, version, plural) == (table.names().0, table.names().1, table.names().2))
    }

    /// `jobs.batch`, as error messages have it.
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// Whether these are resources of this operator.
    pub fn is_test(self) -> bool {
        matches!(self, Self::K6s | Self::TestRuns)
    }

    pub fn has_status(self) -> bool {
        matches!(self, Self::K6s | Self::TestRuns | Self::Jobs | Self::Pods)
    }

    fn has_generation(self) -> bool {
        matches!(self, Self::K6s | Self::TestRuns | Self::Jobs)
    }

    /// Whether an update without a resourceVersion is taken.
    fn takes_unconditional_updates(self) -> bool {
        !matches!(self, Self::K6s | Self::TestRuns | Self::Leases)
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub table: Table,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(table: Table, namespace: &str, name: &str) -> Self {
        Self {
            table,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// What the API server answers when it does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

impl Refused {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    pub fn not_found(key: &Key) -> Self {
        let message = format!("{} \"{}\" not found", key.table.qualified(), key.name);
        Self::new(404, "NotFound", message)
    }

    pub fn exists(key: &Key) -> Self {
        let message = format!("{} \"{}\" already exists", key.table.qualified(), key.name);
        Self::new(409, "AlreadyExists", message)
    }

    pub fn conflict(key: &Key, why: &str) -> Self {
        let what = format!("{} \"{}\"", key.table.qualified(), key.name);
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {what}: {why}"),
        )
    }

    /// Of a delete: the message then has the kind in the place of the plural.
    pub fn precondition(key: &Key, why: &str) -> Self {
        let Self {
            code,
            reason,
            message,
        } = Self::conflict(key, why);
        let (table, kind) = (key.table, key.table.kind());
        let message = match table.group() {
            "" => message.replacen(table.plural(), kind, 1),
            group => message.replacen(&table.qualified(), &format!("{kind}.{group}"), 1),
        };
        Self::new(code, reason, message)
    }

    fn modified(key: &Key) -> Self {
        Self::conflict(
            key,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The body of the answer.
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code
        })
    }
}

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Added,
    Modified,
    Deleted,
}

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub how: How,
    pub key: Key,
    pub object: Arc<Value>,
    /// As it was, if it was there.
    pub before: Option<Arc<Value>>,
}

/// All objects.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    version: u64,
    /// The newest version of which the changes are not known any more.
    compacted: u64,
    uids: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            version: 1,
            compacted: 0,
            uids: 0,
        }
    }
}

pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion")
        .parse()
        .unwrap_or_default()
}

/// The UIDs of its owners.
pub fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    owners.into_iter().flatten().map(|owner| text(owner, "/uid"))
}

pub fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(name)?.as_str()
}

pub fn is_leaving(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// The object at this key of an object, made if it is missing.
pub fn within<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if object.get(key).is_none() {
        object[key] = Value::Object(Map::new());
    }
    &mut object[key]
}

fn meta(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(metadata) = within(object, "metadata") {
        metadata.insert(field.to_owned(), value);
    }
}

/// As Kubernetes writes times.
pub fn time(now: Timestamp) -> Value {
    Value::String(Timestamp::from_second(now.as_second()).unwrap_or(now).to_string())
}

impl Store {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The object with this UID, wherever it is.
    pub fn find(&self, of_uid: &str) -> Option<(&Key, &Arc<Value>)> {
        self.objects.iter().find(|(_, object)| uid(object) == of_uid)
    }

    pub fn all(&self, table: Table) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let first = Key::new(table, "", "");
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.table == table)
    }

    pub fn everything(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// What changed after this version; None if that is not known any more.
    pub fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let from = self.log.partition_point(|change| change.version <= version);
        (version >= self.compacted).then(|| self.log.range(from..))
    }

    /// Forgets what changed until now.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.log.clear();
    }

    fn record(&mut self, how: How, key: &Key, mut object: Value, before: Option<Arc<Value>>) -> Arc<Value> {
        self.version += 1;
        meta(&mut object, "resourceVersion", json!(self.version.to_string()));
        let object = Arc::new(object);
        match how {
            How::Added | How::Modified => {
                self.objects.insert(key.clone(), object.clone());
            }
            How::Deleted => {
                self.objects.remove(key);
            }
        }
        self.log.push_back(Change {
            version: self.version,
            how,
            key: key.clone(),
            object: object.clone(),
            before,
        });
        if self.log.len() > LOG_LIMIT
            && let Some(oldest) = self.log.pop_front()
        {
            self.compacted = oldest.version;
        }
        object
    }

    pub fn create(&mut self, key: &Key, mut object: Value, now: Timestamp) -> Result<Arc<Value>, Refused> {
        if !version(&object).eq(&0) {
            return Err(Refused::new(
                500,
                "InternalError",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if self.objects.contains_key(key) {
            return Err(Refused::exists(key));
        }
        self.uids += 1;
        meta(&mut object, "namespace", json!(key.namespace));
        meta(
            &mut object,
            "uid",
            json!(format!("00000000-0000-4000-8000-{:012x}", self.uids)),
        );
        meta(&mut object, "creationTimestamp", time(now));
        if key.table == Table::Services && text(&object, "/spec/clusterIP").is_empty() {
            let (high, low) = (self.uids / 256 % 256, self.uids % 256);
            within(&mut object, "spec")["clusterIP"] = json!(format!("10.96.{high}.{low}"));
        }
        if key.table.has_generation() {
            meta(&mut object, "generation", json!(1));
        }
        if key.table.has_status()
            && let Value::Object(fields) = &mut object
        {
            fields.remove("status");
            // As the definition says.
            if key.table.is_test() {
                fields.insert("status".to_owned(), json!({"observedGeneration": -1}));
            }
        }
        Ok(self.record(How::Added, key, object, None))
    }

    /// Replaces an object, as a PUT does: its status stays as it is where that has a path of its own.
    pub fn replace(&mut self, key: &Key, mut object: Value) -> Result<Arc<Value>, Refused> {
        let before = self.current(key, &object)?;
        if key.table.has_status()
            && let Value::Object(fields) = &mut object
        {
            fields.remove("status");
            if let Some(status) = before.get("status") {
                fields.insert("status".to_owned(), status.clone());
            }
        }
        for field in [
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
        ] {
            match before.pointer(&format!("/metadata/{field}")) {
                Some(value) => meta(&mut object, field, value.clone()),
                None => {
                    if let Value::Object(metadata) = within(&mut object, "metadata") {
                        metadata.remove(field);
                    }
                }
            }
        }
        if key.table.has_generation() && object.get("spec") != before.get("spec") {
            let generation = before.pointer("/metadata/generation").and_then(Value::as_i64);
            meta(
                &mut object,
                "generation",
                json!(generation.unwrap_or_default() + 1),
            );
        }
        Ok(self.changed(key, object, before))
    }

    /// Replaces the status of an object and nothing else.
    pub fn replace_status(&mut self, key: &Key, object: &Value) -> Result<Arc<Value>, Refused> {
        let before = self.current(key, object)?;
        let mut after = (*before).clone();
        if let Value::Object(fields) = &mut after {
            match object.get("status") {
                Some(status) => fields.insert("status".to_owned(), status.clone()),
                None => fields.remove("status"),
            };
        }
        Ok(self.changed(key, after, before))
    }

    /// What is there, if what is to take its place was made from it.
    fn current(&self, key: &Key, object: &Value) -> Result<Arc<Value>, Refused> {
        let before = self
            .objects
            .get(key)
            .cloned()
            .ok_or_else(|| Refused::not_found(key))?;
        let expected = uid(object);
        if !expected.is_empty() && expected != uid(&before) {
            return Err(Refused::conflict(
                key,
                &format!(
                    "StorageError: invalid object, Code: 4, Key: /registry/{}/{}/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {expected}, UID in object meta: {}",
                    key.table.group(),
                    key.table.plural(),
                    key.namespace,
                    key.name,
                    uid(&before)
                ),
            ));
        }
        match version(object) {
            0 if key.table.takes_unconditional_updates() => Ok(before),
            0 => Err(Refused::new(
                422,
                "Invalid",
                format!(
                    "{} \"{}\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
                    key.table.qualified(),
                    key.name
                ),
            )),
            read if read == version(&before) => Ok(before),
            _ => Err(Refused::modified(key)),
        }
    }

    /// What says nothing new is not written: the version stays.
    fn changed(&mut self, key: &Key, mut object: Value, before: Arc<Value>) -> Arc<Value> {
        meta(
            &mut object,
            "resourceVersion",
            json!(version(&before).to_string()),
        );
        if object == *before {
            return before;
        }
        self.record(How::Modified, key, object, Some(before))
    }

    /// Changes an object as a controller of the cluster does, without races.
    pub fn mutate(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> Option<Arc<Value>> {
        let before = self.objects.get(key)?.clone();
        let mut object = (*before).clone();
        change(&mut object);
        Some(self.changed(key, object, before))
    }

    /// Removes an object at once.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.get(key)?.clone();
        Some(self.record(How::Deleted, key, (*before).clone(), Some(before)))
    }
}
