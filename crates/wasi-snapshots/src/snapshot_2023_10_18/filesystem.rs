//! `wasi:filesystem` of the snapshot: `open-at` takes modes, and there are
//! access checks, permission changes and locks.

#[cfg(test)]
mod tests;

use super::SNAPSHOT;
use crate::table::table;
use crate::unchanged::filesystem;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, flags};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};

flags! {
    Modes {
        #[component(name = "readable")]
        const READABLE;
        #[component(name = "writable")]
        const WRITABLE;
        #[component(name = "executable")]
        const EXECUTABLE;
    }
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum AccessType {
    #[component(name = "access")]
    Access(Modes),
    #[component(name = "exists")]
    Exists,
}

type Fd = Resource<Descriptor>;

pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    filesystem::add_to_linker(linker, SNAPSHOT)?;
    table!(SNAPSHOT.instance(linker, "wasi:filesystem/types")?, T::filesystem, {
        "[method]descriptor.open-at" => async_outcome open_at[
            fd: Fd,
            path_flags: PathFlags,
            path: String,
            open_flags: OpenFlags,
            flags: DescriptorFlags,
            modes: Modes
        ];
        "[method]descriptor.access-at" => async_outcome access_at[
            fd: Fd, path_flags: PathFlags, path: String, access: AccessType
        ];
        "[method]descriptor.change-file-permissions-at" => outcome change_permissions_at[
            fd: Fd, path_flags: PathFlags, path: String, modes: Modes
        ];
        "[method]descriptor.change-directory-permissions-at" => outcome change_permissions_at[
            fd: Fd, path_flags: PathFlags, path: String, modes: Modes
        ];
        "[method]descriptor.lock-shared" => outcome lock[fd: Fd];
        "[method]descriptor.lock-exclusive" => outcome lock[fd: Fd];
        "[method]descriptor.try-lock-shared" => outcome lock[fd: Fd];
        "[method]descriptor.try-lock-exclusive" => outcome lock[fd: Fd];
        "[method]descriptor.unlock" => outcome lock[fd: Fd];
    });
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the snapshot's signature")]
async fn open_at(
    view: &mut WasiFilesystemCtxView<'_>,
    fd: Fd,
    path_flags: PathFlags,
    path: String,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
    _: Modes,
) -> FsResult<Fd> {
    view.open_at(fd, path_flags, path, open_flags, flags).await
}

/// Files and directories are opened, which asks the guest's permissions and the
/// file system's at once; whether a directory is writable is up to the guest's
/// permissions alone. Opening anything else could block or have an effect.
async fn access_at(
    view: &mut WasiFilesystemCtxView<'_>,
    fd: Fd,
    path_flags: PathFlags,
    path: String,
    access: AccessType,
) -> FsResult<()> {
    let stat = view.stat_at(Resource::new_borrow(fd.rep()), path_flags, path.clone()).await?;
    let modes = match access {
        AccessType::Exists => return Ok(()),
        AccessType::Access(modes) => modes,
    };
    let (open_flags, write) = match stat.type_ {
        DescriptorType::RegularFile => (OpenFlags::empty(), DescriptorFlags::WRITE),
        DescriptorType::Directory => (OpenFlags::DIRECTORY, DescriptorFlags::MUTATE_DIRECTORY),
        _ => return Err(ErrorCode::Unsupported.into()),
    };
    if modes.contains(Modes::EXECUTABLE) {
        return Err(ErrorCode::Unsupported.into());
    }
    let flags = match (modes.contains(Modes::READABLE), modes.contains(Modes::WRITABLE)) {
        (_, false) => DescriptorFlags::READ,
        (false, true) => write,
        (true, true) => DescriptorFlags::READ | write,
    };
    let opened = view.open_at(fd, path_flags, path, open_flags, flags).await?;
    let opened = view.table.delete(opened)?;
    match opened {
        Descriptor::Dir(directory)
            if modes.contains(Modes::WRITABLE) && directory.perms.write_not_permitted() =>
        {
            Err(ErrorCode::ReadOnly.into())
        }
        Descriptor::Dir(_) | Descriptor::File(_) => Ok(()),
    }
}

fn change_permissions_at(
    _: &mut WasiFilesystemCtxView<'_>,
    _: Fd,
    _: PathFlags,
    _: String,
    _: Modes,
) -> FsResult<()> {
    Err(ErrorCode::Unsupported.into())
}

fn lock(_: &mut WasiFilesystemCtxView<'_>, _: Fd) -> FsResult<()> {
    Err(ErrorCode::Unsupported.into())
}
