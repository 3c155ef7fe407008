//! The connections of watches, and how far behind each is.

use super::api::{self, Query, Request, bookmark, expired, line, seen_as};
use super::faults::OnWatch;
use super::store::{Change, How, Key, Table};
use super::world::{Event, Shared, World};
use hyper::body::{Bytes, Frame};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// How long a watch lasts whose client says nothing of it, in seconds.
const TIMEOUT: u64 = 290;

/// One connection.
#[derive(Debug)]
pub struct Watch {
    operator: usize,
    process: u32,
    table: Table,
    namespace: String,
    query: Query,
    /// What has been delivered, or will not be.
    cursor: u64,
    /// What is on its way, by version, and when it gets there.
    due: u64,
    ready: VecDeque<Bytes>,
    ended: bool,
    silent: bool,
    waker: Option<Waker>,
}

/// What the watches of a table are like now, for one operator.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    held_until: u64,
    coalesced: bool,
    doubled_until: u64,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Watches {
    open: BTreeMap<u64, Watch>,
    count: u64,
    weather: BTreeMap<(usize, Table), Weather>,
}

impl Watches {
    /// Those of an operator that is no more.
    pub fn drop_of(&mut self, operator: usize) {
        self.open.retain(|_, watch| watch.operator != operator);
    }
}

impl Watch {
    fn push(&mut self, bytes: Vec<u8>) {
        self.ready.push_back(Bytes::from(bytes));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl World {
    /// Opens a watch and says its number.
    pub fn open(&mut self, operator: usize, process: u32, request: &Request) -> u64 {
        self.watches.count += 1;
        let id = self.watches.count;
        let since = match request.query.version.as_str() {
            "" | "0" => self.store.version(),
            text => text.parse().unwrap_or_default(),
        };
        let mut watch = Watch {
            operator,
            process,
            table: request.table,
            namespace: request.namespace.clone(),
            query: request.query.clone(),
            cursor: since,
            due: self.now,
            ready: VecDeque::new(),
            ended: false,
            silent: false,
            waker: None,
        };
        if since < self.store.compacted() {
            let refused = expired(since, self.store.version());
            watch.push(line("ERROR", &refused.status()));
            watch.ended = true;
        }
        let timeout = request.query.timeout_seconds.unwrap_or(TIMEOUT) * 1000;
        self.watches.open.insert(id, watch);
        self.after(timeout, "timeout", Event::EndWatch(id));
        if since < self.store.version() {
            self.schedule(id);
        }
        id
    }

    /// A change is on its way to those that watch.
    pub fn notify(&mut self, change: &Change) {
        let interested = self.watches.open.iter().filter(|(_, watch)| {
            !watch.ended
                && watch.table == change.key.table
                && (watch.namespace.is_empty() || watch.namespace == change.key.namespace)
        });
        let ids: Vec<u64> = interested.map(|(id, _)| *id).collect();
        for id in ids {
            self.schedule(id);
        }
    }

    fn schedule(&mut self, id: u64) {
        let Some(watch) = self.watches.open.get(&id) else {
            return;
        };
        let what = format!("watch {} {} {:?}", watch.operator, watch.process, watch.table);
        let held = self.weather(id).held_until;
        let delay = self.draw(&what, 1, 8);
        let now = self.now;
        let Some(watch) = self.watches.open.get_mut(&id) else {
            return;
        };
        watch.due = watch.due.max(now + delay).max(held);
        let wait = watch.due - now;
        self.after(wait, &what, Event::Deliver(id));
    }

    fn weather(&self, id: u64) -> Weather {
        let watch = self.watches.open.get(&id);
        let weather = watch.and_then(|watch| self.watches.weather.get(&(watch.operator, watch.table)));
        weather.copied().unwrap_or_default()
    }

    /// Delivers what has changed until now.
    pub fn deliver(&mut self, id: u64) {
        let weather = self.weather(id);
        let now = self.now;
        if weather.held_until > now {
            return;
        }
        let newest = self.store.version();
        let Some(watch) = self.watches.open.get_mut(&id).filter(|watch| !watch.ended) else {
            return;
        };
        let Some(changes) = self.store.since(watch.cursor) else {
            let refused = expired(watch.cursor, newest);
            watch.push(line("ERROR", &refused.status()));
            watch.ended = true;
            return;
        };
        let of_mine = changes.filter(|change| {
            watch.table == change.key.table
                && (watch.namespace.is_empty() || watch.namespace == change.key.namespace)
        });
        let mut changes: Vec<&Change> = of_mine.collect();
        if weather.coalesced {
            changes = coalesced(changes);
        }
        let doubled = weather.doubled_until > now;
        let mut lines = Vec::new();
        for change in changes {
            if let Some(type_) = seen_as(change, &watch.query) {
                let line = line(type_, &change.object);
                if doubled {
                    lines.push(line.clone());
                }
                lines.push(line);
            }
        }
        watch.cursor = newest;
        if watch.silent {
            return;
        }
        for line in lines {
            watch.push(line);
        }
    }

    /// A watch has lasted as long as it may.
    pub fn end_watch(&mut self, id: u64) {
        if let Some(watch) = self.watches.open.get_mut(&id).filter(|watch| !watch.silent) {
            if watch.query.bookmarks && !watch.ended {
                let line = bookmark(watch.table, watch.cursor);
                watch.push(line);
            }
            watch.ended = true;
            watch.wake();
        }
    }

    /// Something happens to the watches of a table.
    pub fn disturb(&mut self, operator: usize, table: Table, what: OnWatch) {
        let now = self.now;
        let weather = self.watches.weather.entry((operator, table)).or_default();
        let lasts = match what {
            OnWatch::Held(ms) => {
                weather.held_until = now + ms;
                weather.coalesced = false;
                ms
            }
            OnWatch::Coalesced(ms) => {
                weather.held_until = now + ms;
                weather.coalesced = true;
                ms
            }
            OnWatch::Doubled(ms) => {
                weather.doubled_until = now + ms;
                ms
            }
            // A client waits five seconds longer than the server says.
            OnWatch::Silent => (TIMEOUT + 5) * 1000,
            OnWatch::Cut | OnWatch::Gone => 5_000,
        };
        self.disturbed = self.disturbed.max(now + lasts + 5_000);
        let newest = self.store.version();
        let mut due = Vec::new();
        for (id, watch) in &mut self.watches.open {
            if watch.operator != operator || watch.table != table || watch.ended {
                continue;
            }
            match what {
                OnWatch::Held(ms) | OnWatch::Coalesced(ms) => due.push((*id, ms)),
                OnWatch::Doubled(_) => {}
                OnWatch::Cut => {
                    watch.ended = true;
                    watch.wake();
                }
                OnWatch::Silent => watch.silent = true,
                OnWatch::Gone => {
                    let refused = expired(watch.cursor, newest);
                    watch.push(api::line("ERROR", &refused.status()));
                    watch.ended = true;
                }
            }
        }
        for (id, ms) in due {
            self.after(ms, "held", Event::Deliver(id));
        }
    }
}

/// The last change of each object. One that was made and removed is not told.
fn coalesced(changes: Vec<&Change>) -> Vec<&Change> {
    let mut last: BTreeMap<&Key, (bool, &Change)> = BTreeMap::new();
    for change in &changes {
        let made = match last.get(&change.key) {
            Some((made, before)) => *made && before.how != How::Deleted,
            None => change.how == How::Added,
        };
        // Made anew under its name: both are told, as a list would not show the first.
        if last
            .get(&change.key)
            .is_some_and(|(_, before)| before.how == How::Deleted)
        {
            return changes;
        }
        last.insert(&change.key, (made, change));
    }
    let mut last: Vec<&Change> = last
        .into_values()
        .filter(|(made, change)| !(*made && change.how == How::Deleted))
        .map(|(_, change)| change)
        .collect();
    last.sort_by_key(|change| change.version);
    last
}

/// The body of a watch's answer.
#[derive(Debug)]
pub struct Body {
    shared: Shared,
    watch: u64,
}

impl Body {
    pub fn new(shared: Shared, watch: u64) -> Self {
        Self { shared, watch }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut world = self.shared.lock();
        let Some(watch) = world.watches.open.get_mut(&self.watch) else {
            return Poll::Ready(None);
        };
        match watch.ready.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if watch.ended => Poll::Ready(None),
            None => {
                watch.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.shared.lock().watches.open.remove(&self.watch);
    }
}
