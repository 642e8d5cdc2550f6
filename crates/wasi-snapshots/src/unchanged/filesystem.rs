//! `wasi:filesystem`: all but `open-at` and what later snapshots dropped.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DirectoryEntryStream, Filesize, HostDescriptor,
    HostDirectoryEntryStream, NewTimestamp, PathFlags,
};

type Fd = Resource<Descriptor>;

/// Links the interfaces `preopens` and `types`.
pub(crate) fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:filesystem/preopens")?, T::filesystem, {
        "get-directories" => value preopens::Host::get_directories[];
    });
    table!(snapshot.instance(linker, "wasi:filesystem/types")?, T::filesystem, {
        "filesystem-error-code" => value types::Host::filesystem_error_code[
            error: Resource<IoError>
        ];
        "directory-entry-stream" => resource HostDirectoryEntryStream::drop[
            stream: DirectoryEntryStream
        ];
        "[method]directory-entry-stream.read-directory-entry" =>
            async_outcome HostDirectoryEntryStream::read_directory_entry[
                stream: Resource<DirectoryEntryStream>
            ];
        "descriptor" => resource HostDescriptor::drop[fd: Descriptor];
    });
    add_open_object_methods(linker, snapshot)?;
    add_path_methods(linker, snapshot)
}

/// Methods of `descriptor` on the object itself.
fn add_open_object_methods<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:filesystem/types")?, T::filesystem, {
        "[method]descriptor.read-via-stream" => outcome HostDescriptor::read_via_stream[
            fd: Fd, offset: Filesize
        ];
        "[method]descriptor.write-via-stream" => outcome HostDescriptor::write_via_stream[
            fd: Fd, offset: Filesize
        ];
        "[method]descriptor.append-via-stream" => outcome HostDescriptor::append_via_stream[fd: Fd];
        "[method]descriptor.advise" => async_outcome HostDescriptor::advise[
            fd: Fd, offset: Filesize, length: Filesize, advice: Advice
        ];
        "[method]descriptor.sync-data" => async_outcome HostDescriptor::sync_data[fd: Fd];
        "[method]descriptor.get-flags" => async_outcome HostDescriptor::get_flags[fd: Fd];
        "[method]descriptor.get-type" => async_outcome HostDescriptor::get_type[fd: Fd];
        "[method]descriptor.set-size" => async_outcome HostDescriptor::set_size[
            fd: Fd, size: Filesize
        ];
        "[method]descriptor.set-times" => async_outcome HostDescriptor::set_times[
            fd: Fd, accessed: NewTimestamp, modified: NewTimestamp
        ];
        "[method]descriptor.read" => async_outcome HostDescriptor::read[
            fd: Fd, length: Filesize, offset: Filesize
        ];
        "[method]descriptor.write" => async_outcome HostDescriptor::write[
            fd: Fd, buffer: Vec<u8>, offset: Filesize
        ];
        "[method]descriptor.read-directory" => async_outcome HostDescriptor::read_directory[fd: Fd];
        "[method]descriptor.sync" => async_outcome HostDescriptor::sync[fd: Fd];
        "[method]descriptor.stat" => async_outcome HostDescriptor::stat[fd: Fd];
        "[method]descriptor.is-same-object" => async_value HostDescriptor::is_same_object[
            fd: Fd, other: Fd
        ];
        "[method]descriptor.metadata-hash" => async_outcome HostDescriptor::metadata_hash[fd: Fd];
    });
    Ok(())
}

/// Methods of `descriptor` on paths below it.
fn add_path_methods<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:filesystem/types")?, T::filesystem, {
        "[method]descriptor.create-directory-at" =>
            async_outcome HostDescriptor::create_directory_at[fd: Fd, path: String];
        "[method]descriptor.stat-at" => async_outcome HostDescriptor::stat_at[
            fd: Fd, flags: PathFlags, path: String
        ];
        "[method]descriptor.set-times-at" => async_outcome HostDescriptor::set_times_at[
            fd: Fd, flags: PathFlags, path: String, accessed: NewTimestamp, modified: NewTimestamp
        ];
        "[method]descriptor.link-at" => async_outcome HostDescriptor::link_at[
            fd: Fd, flags: PathFlags, path: String, new_fd: Fd, new_path: String
        ];
        "[method]descriptor.readlink-at" => async_outcome HostDescriptor::readlink_at[
            fd: Fd, path: String
        ];
        "[method]descriptor.remove-directory-at" =>
            async_outcome HostDescriptor::remove_directory_at[fd: Fd, path: String];
        "[method]descriptor.rename-at" => async_outcome HostDescriptor::rename_at[
            fd: Fd, path: String, new_fd: Fd, new_path: String
        ];
        "[method]descriptor.symlink-at" => async_outcome HostDescriptor::symlink_at[
            fd: Fd, target: String, path: String
        ];
        "[method]descriptor.unlink-file-at" => async_outcome HostDescriptor::unlink_file_at[
            fd: Fd, path: String
        ];
        "[method]descriptor.metadata-hash-at" => async_outcome HostDescriptor::metadata_hash_at[
            fd: Fd, flags: PathFlags, path: String
        ];
    });
    Ok(())
}
