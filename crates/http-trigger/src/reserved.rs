//! Addresses that are reserved before privileges are dropped.
//!
//! A container's process may bind port 80 while it is still root, whoever it
//! will be afterwards. Until the container is started nobody can connect: the
//! socket is bound but does not listen.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};

use crate::BindError;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// A socket that is bound and does not listen yet.
#[derive(Debug)]
pub struct ReservedAddress {
    socket: OwnedFd,
    address: SocketAddr,
}

impl ReservedAddress {
    /// Binds `host:port`; of several addresses of a host name the first. Asks the
    /// name servers of the container if it is a name; blocks the thread.
    ///
    /// # Errors
    /// The name leads nowhere, or the address cannot be had.
    pub fn reserve(address: &str) -> Result<Self, BindError> {
        let resolve = |source| BindError::Resolve { address: address.to_owned(), source };
        let wanted = address
            .to_socket_addrs()
            .map_err(resolve)?
            .next()
            .ok_or_else(|| resolve(std::io::ErrorKind::NotFound.into()))?;
        match bound(wanted) {
            Ok(socket) => Ok(Self { socket, address: wanted }),
            Err(errno) => Err(BindError::Listen { address: wanted, source: errno.into() }),
        }
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// Somebody else has begun to listen there meanwhile.
    pub fn listen(self) -> Result<TcpListener, BindError> {
        match listen(&self.socket, BACKLOG) {
            Ok(()) => Ok(TcpListener::from(self.socket)),
            Err(errno) => Err(BindError::Listen { address: self.address, source: errno.into() }),
        }
    }
}

fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of an earlier server on this port must not keep us from it.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn nobody_can_connect_before_it_listens() {
        let reserved = ReservedAddress::reserve("127.0.0.1:0").unwrap();
        let address = rustix::net::getsockname(&reserved.socket).unwrap();
        let address: SocketAddr = address.try_into().unwrap();
        assert!(TcpStream::connect(address).is_err());
        let listener = reserved.listen().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let error = ReservedAddress::reserve(&address).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    }

    #[test]
    fn a_name_that_leads_nowhere_is_an_error_that_names_it() {
        let error = ReservedAddress::reserve("no.such.name.invalid:80").unwrap_err();
        assert!(matches!(error, BindError::Resolve { .. }), "{error}");
    }
}
