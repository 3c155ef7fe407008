//! The addresses that a runner listens on while k6 runs, and its keys.

use super::exports::{Exports, headers_of};
use super::linger::{LingerArgs, LingerError};
use super::port;
use super::runners::{TokenFileError, read_token};
use crate::listen;
use crate::protocol::tokens::{
    AGGREGATOR, ENVIRONMENT, RUNNERS_HASH, Token, TokenError, TokenHash, VARIABLES,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as Probing};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::TcpListener;

/// The tokens of the run that a runner has.
pub(super) struct Keys {
    /// The token that the aggregator requires.
    pub(super) aggregator: Token,
    /// The hash of the token that the starter and the stopper present.
    orders: TokenHash,
}

/// Where the tokens of a runner are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// In files of this folder, which this process may delete.
    Folder(PathBuf),
    /// In [`VARIABLES`].
    Environment,
}

impl FromStr for TokenSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == ENVIRONMENT {
            Self::Environment
        } else {
            Self::Folder(text.into())
        })
    }
}

impl Keys {
    /// Reads the tokens. The memory of this process is closed to the script and its child processes, and the variables
    /// with which it was started are part of it. They get none of these: see [`super::process::k6`].
    pub(super) fn take(source: &TokenSource) -> Result<Self, LingerError> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(LingerError::Memory)?;
        match source {
            TokenSource::Folder(folder) => Self::of_files(folder),
            TokenSource::Environment => {
                let [aggregator, orders] = VARIABLES;
                Ok(Self {
                    aggregator: of_variable(aggregator)?,
                    orders: of_variable(orders)?,
                })
            }
        }
    }

    /// Reads the token files and removes them, since the script and its child processes can read what this process can.
    fn of_files(folder: &Path) -> Result<Self, LingerError> {
        let keys = Self {
            aggregator: read_token(&folder.join(AGGREGATOR))?,
            orders: read_token(&folder.join(RUNNERS_HASH))?,
        };
        for path in [AGGREGATOR, RUNNERS_HASH].map(|name| folder.join(name)) {
            std::fs::remove_file(&path).map_err(|error| TokenFileError::Kept(path, error))?;
        }
        Ok(keys)
    }
}

fn of_variable<T: FromStr<Err = TokenError>>(name: &'static str) -> Result<T, LingerError> {
    let text = std::env::var(name).unwrap_or_default();
    text.parse().map_err(|error| LingerError::Variable(name, error))
}

/// The address of k6's REST API: this address, or another port if a sidecar listens on that one. k6 exits with 106 if
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

/// The open sockets of a runner.
pub(super) struct Listening {
    /// The socket for orders of the starter and the stopper.
    pub(super) orders: Option<TcpListener>,
    /// The server to which k6 exports.
    pub(super) exports: Exports,
    pub(super) exports_at: SocketAddr,
}

impl Listening {
    pub(super) async fn open(args: &LingerArgs, token: Option<&Token>) -> Result<Self, LingerError> {
        let orders = match args.listen {
            None => None,
            Some(address) => {
                let bound = listen::bind(address).await;
                Some(bound.map_err(|error| LingerError::Listen(address, error))?)
            }
        };
        let headers = headers_of(args.runner, &args.process, token)?;
        let exports = Exports::bind(&args.aggregator, headers).await;
        let exports = exports.map_err(LingerError::Exports)?;
        let exports_at = exports.address().map_err(LingerError::Exports)?;
        Ok(Self {
            orders,
            exports,
            exports_at,
        })
    }
}

/// Accepts orders on a socket until k6 has ended. Then nothing listens there any more, as for a k6 without this
/// program.
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
