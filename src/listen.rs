//! Listeners that both address families reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;

/// Listens at an address. `[::]` is reached by IPv4 too; where a machine has no IPv6 at all, it stands for `0.0.0.0`.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if has_no_ipv6(&error) && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// An address in use is no reason to try another.
fn has_no_ipv6(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::AddrInUse && error.kind() != io::ErrorKind::PermissionDenied
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::bind;
    use std::net::{Ipv4Addr, TcpStream};

    #[tokio::test]
    async fn unspecified_address_is_reached_by_ipv4_with_or_without_ipv6() {
        let socket = bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        // A port in use is told, and not tried in the other family.
        assert!(bind(format!("[::]:{port}").parse().unwrap()).await.is_err());
    }
}
