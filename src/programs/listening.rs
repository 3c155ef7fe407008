//! What the program of a runner listens to while k6 runs, and what it has of the run's tokens.

use super::exports::{Exports, headers_of};
use super::linger::LingerArgs;
use super::port;
use super::runners::read_token;
use crate::listen;
use crate::protocol::tokens::{AGGREGATOR, RUNNERS_HASH, Token, TokenError, TokenHash};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as Probing};
use std::path::Path;
use tokio::net::TcpListener;

/// What a runner knows of the run's tokens.
pub(super) struct Keys {
    /// What opens the aggregator.
    pub(super) aggregator: Token,
    /// By which the starter and the stopper are known.
    orders: TokenHash,
}

impl Keys {
    /// Reads the files, and removes them: the script, and what it starts, can read what this process can. What it keeps
    /// in memory is kept from them as well.
    pub(super) fn take(folder: &Path) -> Result<Self, String> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|error| format!("the memory of this process can't be closed to others: {error}"))?;
        let hash = folder.join(RUNNERS_HASH);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", hash.display());
        let text = std::fs::read_to_string(&hash).map_err(|error| failed(&error))?;
        let keys = Self {
            aggregator: read_token(&folder.join(AGGREGATOR))?,
            orders: text.parse().map_err(|error: TokenError| failed(&error))?,
        };
        for name in [AGGREGATOR, RUNNERS_HASH] {
            let path = folder.join(name);
            std::fs::remove_file(&path)
                .map_err(|error| format!("{} can't be removed: {error}", path.display()))?;
        }
        Ok(keys)
    }
}

/// Where k6's REST API is to be: at this address, or at another port where a sidecar has that one. k6 ends with 106 if
/// its port is in use.
pub(super) fn api_at(wanted: SocketAddr) -> io::Result<SocketAddr> {
    match Probing::bind(wanted) {
        Ok(_free) => Ok(wanted),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let other = Probing::bind((wanted.ip(), 0))?.local_addr()?;
            eprintln!(
                "k6-operator: another container of the pod listens at {wanted}: k6's REST API is at {other}"
            );
            Ok(other)
        }
        Err(error) => Err(error),
    }
}

/// What is listened to while k6 runs.
pub(super) struct Listening {
    /// Where the starter and the stopper come.
    pub(super) orders: Option<TcpListener>,
    /// Where k6 exports to, for the aggregator.
    pub(super) exports: Exports,
    pub(super) exports_at: SocketAddr,
}

impl Listening {
    pub(super) async fn open(args: &LingerArgs, token: Option<&Token>) -> Result<Self, String> {
        let orders = match args.listen {
            None => None,
            Some(address) => {
                let bound = listen::bind(address).await;
                Some(bound.map_err(|error| format!("{address} can't be listened to: {error}"))?)
            }
        };
        let headers =
            headers_of(args.runner, &args.process, token).map_err(|error| format!("--process: {error}"))?;
        let failed = |error: std::io::Error| format!("no address for k6's exports: {error}");
        let exports = Exports::bind(&args.aggregator, headers).await.map_err(failed)?;
        let exports_at = exports.address().map_err(failed)?;
        Ok(Self {
            orders,
            exports,
            exports_at,
        })
    }
}

/// Takes orders at a socket until k6 has ended, if there is one. Nothing listens there afterwards, as with k6.
pub(super) async fn take_orders(
    socket: Option<TcpListener>,
    k6: SocketAddr,
    keys: Option<&Keys>,
) -> Infallible {
    match (socket, keys) {
        (Some(socket), Some(keys)) => port::serve(socket, k6, keys.orders).await,
        (None | Some(_), _) => std::future::pending().await,
    }
}
