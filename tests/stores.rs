//! Key-value stores and SQLite databases, from guests of two generations of the
//! Rust SDK: `stores` (Spin 3, WASI 0.2) and `stores-p3` (current, WASI 0.3).

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::http::request;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;

const GUESTS: [&str; 2] = ["stores", "stores-p3"];

/// A copy of a guest's folder: what the app stores is kept beside its manifest.
fn copy_of(name: &str, spinlet: &Spinlet) -> Result<PathBuf> {
    let (source, folder) = (guest(name)?, spinlet.folder().join(name));
    let wasm =
        Path::new("target/wasm32-wasip1/release").join(format!("{}.wasm", name.replace('-', "_")));
    fs::create_dir_all(folder.join(&wasm).parent().context("a folder")?)?;
    fs::copy(source.join(&wasm), folder.join(&wasm))?;
    fs::copy(source.join("spin.toml"), folder.join("spin.toml"))?;
    Ok(folder)
}

fn up(name: &str) -> Result<(Spinlet, PathBuf, Served)> {
    let spinlet = Spinlet::new()?;
    let folder = copy_of(name, &spinlet)?;
    let served = spinlet.up(&folder.display().to_string(), &[])?;
    Ok((spinlet, folder, served))
}

fn expect(served: &Served, target: &str, status: u16, text: &str) -> Result<()> {
    let response = served.get(target)?;
    let found = (response.status, response.text());
    ensure!(
        found.0 == status && found.1.contains(text),
        "{target}: {found:?} instead of {status} with {text:?}\n{}",
        served.output()
    );
    Ok(())
}

fn sql(served: &Served, statements: &str) -> Result<(u16, String)> {
    let response = request(served.address(), "POST", "/sql", &[], statements.as_bytes())?;
    Ok((response.status, response.text()))
}

#[test]
fn the_example_counts_visits_across_a_restart() -> Result<()> {
    let (spinlet, folder, served) = up("visits-rust")?;
    expect(&served, "/", 200, "1 visits\n")?;
    expect(&served, "/anywhere", 200, "2 visits\n")?;
    drop(served);
    let served = spinlet.up(&folder.display().to_string(), &[])?;
    expect(&served, "/", 200, "3 visits\n")
}

#[test]
fn values_are_kept_for_the_next_instance_and_for_the_next_start() -> Result<()> {
    for name in GUESTS {
        let (spinlet, folder, served) = up(name)?;
        ensure!(!folder.join(".spin").exists(), "made before it is used");
        expect(&served, "/get?key=k", 200, "none")?;
        expect(&served, "/set?key=k&value=v", 200, "set")?;
        expect(&served, "/get?key=k", 200, "v")?;
        expect(&served, "/exists?key=k", 200, "true")?;
        expect(&served, "/set?key=a&value=", 200, "set")?;
        expect(&served, "/keys", 200, "a,k")?;
        expect(&served, "/delete?key=a", 200, "deleted")?;
        expect(&served, "/keys", 200, "k")?;
        drop(served);
        ensure!(folder.join(".spin/sqlite_key_value.db").is_file());
        let again = spinlet.up(&folder.display().to_string(), &[])?;
        expect(&again, "/get?key=k", 200, "v")?;
    }
    Ok(())
}

#[test]
fn rows_are_kept_for_the_next_instance_and_for_the_next_start() -> Result<()> {
    for name in GUESTS {
        let (spinlet, folder, served) = up(name)?;
        let statements = "CREATE TABLE t (n INTEGER, t TEXT, r REAL, b BLOB);\
                          INSERT INTO t VALUES (1, 'one', 0.5, x'0102'), (2, NULL, NULL, NULL)";
        assert_eq!(sql(&served, statements)?.0, 200);
        let rows = "n,t,r,b\n1,one,0.5,2 bytes\n2,null,null,null\n";
        assert_eq!(sql(&served, "SELECT * FROM t ORDER BY n")?, (200, rows.to_owned()));
        drop(served);
        ensure!(folder.join(".spin/sqlite_db.db").is_file());
        let again = spinlet.up(&folder.display().to_string(), &[])?;
        assert_eq!(sql(&again, "SELECT * FROM t ORDER BY n")?, (200, rows.to_owned()));
    }
    Ok(())
}

#[test]
fn a_component_gets_an_error_for_what_it_may_not_do() -> Result<()> {
    for name in GUESTS {
        let (_spinlet, folder, served) = up(name)?;
        expect(&served, "/get?label=other&key=k", 500, "AccessDenied")?;
        expect(&served, "/open-many?count=256", 200, "256")?;
        expect(&served, "/open-many?count=257", 500, "StoreTableFull")?;
        expect(&served, "/sql/open-many?label=other&count=1", 500, "AccessDenied")?;
        expect(&served, "/sql/open-many?count=256", 200, "256")?;
        expect(&served, "/sql/open-many?count=257", 500, "DatabaseFull")?;
        let wrong = sql(&served, "SELECT * FROM nobody")?;
        assert!(wrong.0 == 500 && wrong.1.contains("no such table: nobody"), "{wrong:?}");
        let other = folder.join("other.db");
        let attached = sql(&served, &format!("ATTACH '{}' AS o", other.display()))?;
        assert!(attached.0 == 500 && attached.1.contains("authoriz"), "{attached:?}");
        assert!(!other.exists());
    }
    Ok(())
}

#[test]
fn wasi_keyvalue_increments_swaps_and_works_on_many_keys() -> Result<()> {
    let (_spinlet, _folder, served) = up("stores")?;
    expect(&served, "/wasi/increment?key=n&by=5", 200, "5")?;
    expect(&served, "/wasi/increment?key=n&by=-7", 200, "-2")?;
    expect(&served, "/wasi/swap?key=s", 200, "none,first,third")?;
    expect(&served, "/wasi/batch", 200, "a=A,b=none,c=C")?;
    expect(&served, "/wasi/keys", 200, "a,c,n,s")?;
    expect(&served, "/wasi/keys?cursor=1", 500, "cursor not supported")?;
    expect(&served, "/wasi/increment?key=s&by=1", 500, "not a number")?;
    expect(&served, "/wasi/keys?label=other", 500, "AccessDenied")
}

#[test]
fn no_increment_of_concurrent_requests_is_lost() -> Result<()> {
    let (_spinlet, _folder, served) = up("stores")?;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..10).try_for_each(|_| expect(&served, "/wasi/increment?key=n&by=1", 200, ""))
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    expect(&served, "/wasi/increment?key=n&by=0", 200, "80")
}

#[test]
fn a_label_that_nothing_stands_behind_is_a_start_error() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let folder = copy_of("stores", &spinlet)?;
    let manifest = fs::read_to_string(folder.join("spin.toml"))?
        .replace("key_value_stores = [\"default\"]", "key_value_stores = [\"default\", \"cache\"]")
        .replace("sqlite_databases = [\"default\"]", "sqlite_databases = [\"orders\"]");
    fs::write(folder.join("spin.toml"), manifest)?;
    let finished = spinlet.finish(&["up", &folder.display().to_string()])?;
    ensure!(!finished.status.success(), "it started: {}", finished.text());
    for label in ["\"cache\"", "\"orders\""] {
        ensure!(finished.text().contains(label), "{}", finished.text());
    }
    Ok(())
}

#[test]
fn an_app_is_served_from_memory_where_nothing_can_be_written() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let folder = copy_of("stores", &spinlet)?;
    // A file in the place of the folder stops root, too.
    fs::write(folder.join(".spin"), "")?;
    let served = spinlet.up(&folder.display().to_string(), &[])?;
    expect(&served, "/set?key=k&value=v", 200, "set")?;
    expect(&served, "/get?key=k", 200, "v")?;
    served.wait_for_output("kept in memory")
}
