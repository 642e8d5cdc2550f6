use super::*;
use crate::tests::State;
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p2::bindings::filesystem::preopens;

/// A folder that holds `file` and `folder/`, and a state that may use it.
fn folder(perms: FsPerms) -> (tempfile::TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("file"), "contents").unwrap();
    fs_err::create_dir(folder.path().join("folder")).unwrap();
    let state = State::with(|wasi| {
        wasi.preopened_dir(folder.path(), "/", perms).unwrap();
    });
    (folder, state)
}

async fn access(state: &mut State, path: &str, access: AccessType) -> Result<(), ErrorCode> {
    let view = &mut state.filesystem();
    let (root, _) = preopens::Host::get_directories(view).unwrap().remove(0);
    let root = Resource::new_borrow(root.rep());
    let outcome = access_at(view, root, PathFlags::empty(), path.to_owned(), access).await;
    outcome.map_err(|error| error.downcast().unwrap())
}

#[tokio::test]
async fn existence_and_reading_are_checked_for_files_and_folders() {
    let (_folder, mut state) = folder(FsPerms::ReadOnly);
    for path in ["file", "folder"] {
        access(&mut state, path, AccessType::Exists).await.unwrap();
        access(&mut state, path, AccessType::Access(Modes::READABLE)).await.unwrap();
    }
    let missing = access(&mut state, "missing", AccessType::Exists).await;
    assert_eq!(missing, Err(ErrorCode::NoEntry));
}

#[tokio::test]
async fn nothing_in_a_read_only_folder_is_writable() {
    let (_folder, mut state) = folder(FsPerms::ReadOnly);
    for path in ["file", "folder"] {
        access(&mut state, path, AccessType::Access(Modes::WRITABLE)).await.unwrap_err();
    }
    let (_folder, mut state) = folder(FsPerms::ReadWrite);
    for path in ["file", "folder"] {
        let both = AccessType::Access(Modes::READABLE | Modes::WRITABLE);
        access(&mut state, path, both).await.unwrap();
    }
}

#[tokio::test]
async fn an_access_check_leaves_no_descriptor_behind() {
    let (_folder, mut state) = folder(FsPerms::ReadOnly);
    access(&mut state, "file", AccessType::Access(Modes::READABLE)).await.unwrap();
    // The one that `access` made of the preopened folder.
    assert_eq!(state.table.iter_mut().count(), 1);
}

#[tokio::test]
async fn executability_is_not_known() {
    let (_folder, mut state) = folder(FsPerms::ReadOnly);
    let outcome = access(&mut state, "file", AccessType::Access(Modes::EXECUTABLE)).await;
    assert_eq!(outcome, Err(ErrorCode::Unsupported));
}
