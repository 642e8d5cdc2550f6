//! What is still accepted. Beyond a limit an artifact is refused with an error
//! that names the limit; nothing is cut off silently.

/// Size of an image manifest or index, in bytes.
pub const MANIFEST_BYTES: u64 = 4 << 20;
/// Size of an image's configuration blob, in bytes.
pub const CONFIG_BYTES: u64 = 4 << 20;
/// Size of a locked app, in bytes.
pub const LOCKED_APP_BYTES: u64 = 16 << 20;
/// Size of a `spin.toml`, in bytes.
pub const SPIN_TOML_BYTES: u64 = 1 << 20;
/// Layers of one image.
pub const LAYERS: usize = 4096;
/// How many indexes may refer to one another before a manifest is met.
pub const INDEX_DEPTH: usize = 4;
/// Components of one app.
pub const COMPONENTS: usize = 1024;
/// Triggers of one app.
pub const TRIGGERS: usize = 16_384;
/// Files of one component.
pub const FILES: usize = 100_000;
/// Size of one component's Wasm, in bytes.
pub const WASM_BYTES: u64 = 256 << 20;
/// Size of one file, in bytes.
pub const FILE_BYTES: u64 = 1 << 30;
/// Size of all files of one component together, in bytes.
pub const ASSETS_BYTES: u64 = 4 << 30;
/// Size of an archive layer, compressed, in bytes.
pub const ARCHIVE_BYTES: u64 = 2 << 30;
/// Size of what an archive layer unpacks to, in bytes.
pub const UNPACKED_BYTES: u64 = 4 << 30;
/// Entries of an archive layer.
pub const ARCHIVE_ENTRIES: u64 = 200_000;
/// Size of one name extension (long name, pax header) in an archive, in bytes.
pub const ARCHIVE_EXTENSION_BYTES: u64 = 64 << 10;
/// How many times larger than its compressed form an archive may become, once it
/// is beyond [`RATIO_FREE_BYTES`].
pub const UNPACK_RATIO: u64 = 200;
/// Unpacked bytes for which the ratio does not matter.
pub const RATIO_FREE_BYTES: u64 = 16 << 20;
/// Entries of an image layout in the form of a tar file.
pub const LAYOUT_ENTRIES: u64 = 100_000;
/// Files and folders met while a `spin.toml`'s file patterns are matched.
pub const WALKED_ENTRIES: usize = 1_000_000;
