//! The shim's socket: its name, and taking it when it is free, stale or served.

use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use containerd_shim::StartOpts;
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};

use super::BootstrapError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// What taking an address came to.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is ours, and connections already queue up.
    Bound(UnixListener),
    /// Another shim of the same group serves it.
    Served,
}

/// The path in a socket's address.
pub fn socket_path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

/// The address of a group's shim, the same for each of its containers.
pub(super) fn address(
    grpc_address: &str,
    namespace: &str,
    group: &str,
    socket_dir: Option<String>,
) -> String {
    let options = StartOpts {
        address: grpc_address.to_owned(),
        namespace: namespace.to_owned(),
        socket_dir,
        ..StartOpts::default()
    };
    options.socket_address(group)
}

/// Takes an address. A lock on the folder makes this one step: two shims of a
/// group that start at once cannot unlink each other's new socket.
pub(super) fn claim(address: &str) -> Result<Claim, BootstrapError> {
    let path = socket_path(address);
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(BootstrapError::system(format!("make folder {}", folder.display())))?;
    let _lock = lock(folder)?;
    match bound(path) {
        Ok(listener) => return Ok(Claim::Bound(listener)),
        Err(Errno::ADDRINUSE) => {}
        Err(errno) => return Err(cannot("bind", path, errno)),
    }
    if is_served(path)? {
        return Ok(Claim::Served);
    }
    fs_err::remove_file(path).map_err(BootstrapError::system("remove a stale socket"))?;
    bound(path).map(Claim::Bound).map_err(|errno| cannot("bind", path, errno))
}

/// Removes a socket that nobody serves any more.
pub(super) fn remove_if_dead(address: &str) -> Result<(), BootstrapError> {
    let path = socket_path(address);
    if address.is_empty() || !path.exists() {
        return Ok(());
    }
    let _lock = path.parent().map(lock).transpose()?;
    if is_served(path)? {
        return Ok(());
    }
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BootstrapError::system("remove the socket of a dead shim")(error))
        }
        _ => Ok(()),
    }
}

fn lock(folder: &Path) -> Result<fs_err::File, BootstrapError> {
    let handle = fs_err::File::open(folder)
        .map_err(BootstrapError::system("open the folder of the sockets"))?;
    flock(&handle, FlockOperation::LockExclusive).map_err(|errno| cannot("lock", folder, errno))?;
    Ok(handle)
}

/// A socket at `path` that only its owner may connect to, from its first moment
/// on: the mode of the unbound socket is the mode of the file.
fn bound(path: &Path) -> Result<UnixListener, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Whether a shim listens at `path`; anything but a shim of ours or a dead
/// socket there is an error.
fn is_served(path: &Path) -> Result<bool, BootstrapError> {
    let taken =
        |reason: String| BootstrapError::AddressTaken { path: path.display().to_string(), reason };
    match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(taken("it is not a socket".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(BootstrapError::system("look at the socket")(error)),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| cannot("probe", path, errno))?;
    let target = SocketAddrUnix::new(path).map_err(|errno| cannot("probe", path, errno))?;
    match connect(&probe, &target) {
        Ok(()) => {
            let peer =
                sockopt::socket_peercred(&probe).map_err(|errno| cannot("probe", path, errno))?;
            if peer.uid == rustix::process::getuid() {
                return Ok(true);
            }
            Err(taken(format!("user {} listens there", peer.uid.as_raw())))
        }
        // So many connections wait that there is no room for another.
        Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(errno) => Err(cannot("probe", path, errno)),
    }
}

fn cannot(what: &str, path: &Path, errno: Errno) -> BootstrapError {
    BootstrapError::system(format!("{what} {}", path.display()))(errno.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix://{}/s/a", folder.path().display());
        (folder, address)
    }

    fn bind_to(address: &str) -> UnixListener {
        match claim(address).unwrap() {
            Claim::Bound(listener) => listener,
            Claim::Served => panic!("{address} is served"),
        }
    }

    #[test]
    fn the_address_is_the_hash_that_containerd_documents() {
        let address = address("/run/containerd/containerd.sock", "default", "123", None);
        // sha256 of "/run/containerd/containerd.sock/default/123"
        let hash = "0ddfbd72d02b3551e75f3a0ed90b9965b533401be618f43a568bc522764e0ad0";
        assert_eq!(address, format!("unix:///run/containerd/s/{hash}"));
        assert!(socket_path(&address).as_os_str().len() <= 106);
    }

    #[test]
    fn a_requested_folder_takes_the_place_of_the_default() {
        let address = address("/c.sock", "default", "123", Some("/sockets/".to_owned()));
        assert!(address.starts_with("unix:///sockets/"), "{address}");
    }

    #[test]
    fn only_the_owner_may_connect() {
        let (_folder, address) = folder();
        let _listener = bind_to(&address);
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(socket_path(&address)), 0o600);
        assert_eq!(mode(socket_path(&address).parent().unwrap()), 0o700);
    }

    #[test]
    fn a_served_address_is_shared_and_a_stale_one_taken_over() {
        let (_folder, address) = folder();
        let listener = bind_to(&address);
        assert!(matches!(claim(&address).unwrap(), Claim::Served));
        remove_if_dead(&address).unwrap();
        assert!(socket_path(&address).exists());
        drop(listener);
        let listener = bind_to(&address);
        drop(listener);
        remove_if_dead(&address).unwrap();
        assert!(!socket_path(&address).exists());
        remove_if_dead(&address).unwrap();
    }

    #[test]
    fn a_full_backlog_counts_as_served() {
        let (_folder, address) = folder();
        let _listener = bind_to(&address);
        let mut waiting = Vec::new();
        for _ in 0..=BACKLOG {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            let target = SocketAddrUnix::new(socket_path(&address)).unwrap();
            let _ = connect(&socket, &target);
            waiting.push(socket);
        }
        assert!(matches!(claim(&address).unwrap(), Claim::Served));
    }

    #[test]
    fn a_file_in_the_way_is_an_error_and_stays() {
        let (_folder, address) = folder();
        drop(bind_to(&address));
        fs_err::remove_file(socket_path(&address)).unwrap();
        fs_err::write(socket_path(&address), "precious").unwrap();
        let error = claim(&address).unwrap_err();
        assert!(matches!(error, BootstrapError::AddressTaken { .. }), "{error}");
        assert!(socket_path(&address).exists());
    }

    #[test]
    fn shims_that_start_at_once_on_a_stale_socket_agree_on_one() {
        let (_folder, address) = folder();
        drop(bind_to(&address));
        let claims: Vec<Claim> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| claim(&address).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let bound = claims.iter().filter(|claim| matches!(claim, Claim::Bound(_))).count();
        assert_eq!(bound, 1);
    }
}
