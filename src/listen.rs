//! Listeners for IPv4 and IPv6.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;

/// Listens at an address. `[::]` accepts IPv4 too; on a machine without IPv6 it stands for `0.0.0.0`.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if has_no_ipv6(&error) && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// True if a bind failed for lack of IPv6. An address in use is no reason to try another.
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
        // A port in use is an error, and is not tried with IPv4.
        assert!(bind(format!("[::]:{port}").parse().unwrap()).await.is_err());
    }
}
