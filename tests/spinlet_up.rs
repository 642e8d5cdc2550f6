//! `spinlet up`: an app served without containerd, from every kind of source.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::http::{self, Connection};
use integration_tests::leak_check::{no_process_of, no_unfinished_file};
use integration_tests::process::{free_address, output_of, wait_until};
use integration_tests::registry::Registry;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::{guest, programs, require_root, system_program};
use rustix::process::Signal;

fn hello_rust() -> Result<String> {
    Ok(guest("hello-rust")?.display().to_string())
}

fn wasm_of(guest_name: &str) -> Result<std::path::PathBuf> {
    let file = format!("{}.wasm", guest_name.replace('-', "_"));
    Ok(guest(guest_name)?.join("target/wasm32-wasip1/release").join(file))
}

fn copy_app(from: &Path, to: &Path) -> Result<()> {
    output_of(Command::new("cp").arg("-r").arg(from).arg(to), Duration::from_secs(20)).map(drop)
}

#[test]
fn a_folder_a_manifest_and_a_single_wasm_file_are_served() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let folder = hello_rust()?;
    let manifest = format!("{folder}/spin.toml");
    let wasm = wasm_of("hello-rust")?.display().to_string();
    for app in [folder, manifest, wasm] {
        let served = spinlet.up(&app, &[])?;
        let response = served.get("/any/path")?;
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "Hello from Rust!\n"),
            "{app}"
        );
    }
    no_process_of(spinlet.folder())?;
    no_unfinished_file(&spinlet.state())
}

#[test]
fn a_reference_is_pulled_and_served() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let registry = Registry::start()?;
    let reference = registry.reference("hello-rust");
    spinlet.run(&["push", &hello_rust()?, &reference])?;
    let served = spinlet.up(&reference, &[])?;
    assert_eq!(served.get("/")?.text(), "Hello from Rust!\n");
    Ok(())
}

#[test]
fn the_javascript_and_the_python_example_are_served() -> Result<()> {
    let spinlet = Spinlet::new()?;
    for (name, text) in
        [("hello-javascript", "Hello from JavaScript!\n"), ("hello-python", "Hello from Python!\n")]
    {
        let served = spinlet.up(&guest(name)?.display().to_string(), &[])?;
        let response = served.get("/")?;
        assert_eq!((response.status, response.text().as_str()), (200, text));
        assert_eq!(response.header("content-type"), Some("text/plain"), "{name}");
        served.wait_for_output(&format!("{name}: GET /"))?;
    }
    Ok(())
}

#[test]
fn what_components_write_is_copied_to_files_where_that_is_asked_for() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let app = guest("behaviours")?.display().to_string();
    let config = spinlet.folder().join("runtime-config.toml");
    fs::write(&config, "log_dir = 'configured'")?;
    let config = config.display().to_string();
    for (arguments, folder) in
        [(["--log-dir", "given"], "given"), (["--runtime-config-file", &config], "configured")]
    {
        let mut served = spinlet.up(&app, &arguments)?;
        assert_eq!(served.get("/b/log?lines=2")?.status, 200);
        assert_eq!(served.get("/b/last-words")?.status, 500);
        served.wait_for_output("last words")?;
        served.process().signal(Signal::TERM)?;
        assert_eq!(served.process().wait(Duration::from_secs(20))?.code(), Some(0));
        let file = |stream| {
            let name = format!("behaviours_{stream}.txt");
            fs::read_to_string(spinlet.folder().join(folder).join(name))
        };
        assert_eq!(file("stdout")?, "line 0\nline 1\nlast words without a newline\n", "{folder}");
        assert_eq!(file("stderr")?, "to standard error\n", "{folder}");
        // As without it.
        let output = served.output();
        assert!(output.contains("line 1\n") && output.contains("to standard error"), "{output}");
    }
    fs::write(&config, "log_dir = ''")?;
    spinlet.up(&app, &["--runtime-config-file", &config])?.get("/b/log?lines=1")?;
    let finished = spinlet.finish(&["up", &app, "--log-dir", "/dev/null/logs"])?;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.text());
    let expected = "the folder for logs of guests cannot be used";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    assert!(finished.stderr.contains("/dev/null/logs"), "{}", finished.stderr);
    Ok(())
}

#[test]
fn routes_and_readiness_are_printed() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let served = spinlet.up(&hello_rust()?, &[])?;
    served.wait_for_output(&format!("Serving http://{}", served.address()))?;
    served.wait_for_output("Available Routes:")?;
    served.wait_for_output("(wildcard)")?;
    served.get("/printed")?;
    served.wait_for_output("hello-rust: GET /printed")
}

#[test]
fn variables_reach_the_app_from_arguments_and_environment() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let app = guest("behaviours")?.display().to_string();
    let greeting = |arguments: &[&str]| -> Result<String> {
        Ok(spinlet.up(&app, arguments)?.get("/b/variable?name=greeting")?.text())
    };
    assert_eq!(greeting(&[])?, "hello from a default\n");
    assert_eq!(greeting(&["--variable", "greeting=argument"])?, "argument\n");
    assert_eq!(greeting(&["--env", "SPIN_VARIABLE_GREETING=environment"])?, "environment\n");
    Ok(())
}

#[test]
fn a_second_start_compiles_nothing() -> Result<()> {
    let spinlet = Spinlet::new()?;
    drop(spinlet.up(&hello_rust()?, &[])?);
    let before = cache_entries(&spinlet.state())?;
    assert_eq!(before.len(), 1, "{before:?}");
    let started = Instant::now();
    drop(spinlet.up(&hello_rust()?, &[])?);
    assert_eq!(cache_entries(&spinlet.state())?, before);
    ensure!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    Ok(())
}

/// The compiled components with their time: file names of 64 digits.
fn cache_entries(state: &Path) -> Result<Vec<(String, std::time::SystemTime)>> {
    let mut entries = Vec::new();
    for folder in fs::read_dir(state.join("cache"))? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == 64 {
                entries.push((name, entry.metadata()?.modified()?));
            }
        }
    }
    entries.sort();
    Ok(entries)
}

#[test]
fn ctrl_c_finishes_the_request_in_flight() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        let spinlet = Spinlet::new()?;
        let mut served = spinlet.up(&guest("behaviours")?.display().to_string(), &[])?;
        let address = served.address();
        let request = thread::spawn(move || http::get(address, "/b/sleep?ms=1500"));
        thread::sleep(Duration::from_millis(500));
        served.process().signal(signal)?;
        let status = served.process().wait(Duration::from_secs(20))?;
        let response = request.join().expect("the client does not panic")?;
        assert_eq!((response.status, response.text().as_str()), (200, "slept\n"));
        assert_eq!(status.code(), Some(0), "{}", served.output());
    }
    Ok(())
}

#[test]
fn a_second_ctrl_c_cuts_requests_off() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let mut served = spinlet.up(&guest("behaviours")?.display().to_string(), &[])?;
    let mut connection = Connection::open(served.address())?;
    connection.send_head("GET", "/b/sleep?ms=60000", &[])?;
    thread::sleep(Duration::from_millis(500));
    served.process().signal(Signal::INT)?;
    thread::sleep(Duration::from_millis(500));
    assert_eq!(served.process().ended()?, None, "the request is still running");
    served.process().signal(Signal::INT)?;
    served.process().wait(Duration::from_secs(5))?;
    drop(served);
    no_process_of(spinlet.folder())
}

#[test]
fn nothing_survives_a_killed_command_line() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let mut served = spinlet.up(&hello_rust()?, &[])?;
    served.process().signal(Signal::KILL)?;
    served.process().wait(Duration::from_secs(5))?;
    no_process_of(spinlet.folder())
}

#[test]
fn a_component_that_no_trigger_names_may_import_what_nobody_has() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let folder = spinlet.folder().join("unused");
    fs::create_dir_all(&folder)?;
    fs::copy(wasm_of("hello-rust")?, folder.join("hello.wasm"))?;
    // Neither compiled nor linked: it could be neither.
    fs::write(folder.join("unused.wasm"), b"\0asm\x0d\0\x01\0 this is no component")?;
    let manifest = |unused: &str| {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"two\"\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"hello\"\n{unused}\
             [component.hello]\nsource = \"hello.wasm\"\n\
             [component.unused]\nsource = \"unused.wasm\"\n"
        );
        fs::write(folder.join("spin.toml"), text)
    };
    let app = folder.display().to_string();
    manifest("")?;
    assert_eq!(spinlet.up(&app, &[])?.get("/")?.text(), "Hello from Rust!\n");
    manifest("[[trigger.http]]\nroute = \"/unused\"\ncomponent = \"unused\"\n")?;
    let listen = free_address()?.to_string();
    refused(&spinlet, &["up", &app, "--listen", &listen], "\"unused\"")
}

#[test]
fn what_is_wrong_is_said_in_one_sentence_before_anything_listens() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken_address = taken.local_addr()?.to_string();
    let folder = spinlet.folder().join("broken");
    fs::create_dir_all(&folder)?;
    let broken = |text: &str| -> Result<String> {
        fs::write(folder.join("spin.toml"), text)?;
        Ok(folder.display().to_string())
    };
    let manifest = fs::read_to_string(guest("hello-rust")?.join("spin.toml"))?;
    let hello = hello_rust()?;
    let free = free_address()?.to_string();

    let cases = [
        (hello.clone(), vec!["--listen", &taken_address], taken_address.as_str()),
        (hello.clone(), vec!["--listen", "nowhere"], "nowhere"),
        ("/no/such/app".to_owned(), vec![], "/no/such/app"),
        (format!("{free}/app:v1"), vec![], free.as_str()),
        (hello, vec!["--env", "SPIN_MAX_INSTANCE_MEMORY=much"], "SPIN_MAX_INSTANCE_MEMORY"),
    ];
    for (app, arguments, expected) in cases {
        let mut all = vec!["up", app.as_str()];
        all.extend(arguments);
        refused(&spinlet, &all, expected)?;
    }
    let unknown = broken(&format!("{manifest}\nsurprise = true\n"))?;
    refused(&spinlet, &["up", &unknown, "--listen", &free], "surprise")?;
    let missing = broken(&manifest)?;
    refused(&spinlet, &["up", &missing, "--listen", &free], "hello_rust.wasm")?;
    let wasm = wasm_of("hello-rust")?.display().to_string();
    let complete = manifest.replace("target/wasm32-wasip1/release/hello_rust.wasm", &wasm);
    let variable = "\n[variables]\ntoken = { required = true }\n\
                    [component.hello-rust.variables]\ntoken = \"{{ token }}\"\n";
    let required = broken(&(complete + variable))?;
    refused(&spinlet, &["up", &required, "--listen", &free], "token")?;
    no_process_of(spinlet.folder())
}

#[test]
fn everything_that_keeps_an_app_from_being_served_is_said_at_once() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let folder = spinlet.folder().join("app");
    fs::create_dir_all(&folder)?;
    let manifest = format!(
        r#"
spin_manifest_version = 2
application = {{ name = "app" }}
variables = {{ token = {{ required = true }}, other = {{ required = true }} }}
[[trigger.http]]
route = "/..."
component = "one"
[[trigger.http]]
route = "/two"
component = "two"
[component.one]
source = {wasm:?}
variables = {{ token = "{{{{ token }}}}" }}
allowed_outbound_hosts = ["nonsense", "http://{{{{ token }}}}", "http://{{{{ nobody }}}}"]
[component.two]
source = {wasm:?}
allowed_outbound_hosts = ["http://{{{{ open", "http://with/path"]
key_value_stores = ["shelf"]
sqlite_databases = ["books"]
"#,
        wasm = wasm_of("hello-rust")?
    );
    fs::write(folder.join("spin.toml"), manifest)?;
    let free = free_address()?.to_string();
    let finished = spinlet.finish(&["up", &folder.display().to_string(), "--listen", &free])?;
    ensure!(!finished.status.success(), "{}", finished.text());
    for expected in [
        "no value for the required variables other, token",
        "component \"one\": allowed_outbound_hosts entry \"nonsense\"",
        "uses the variable \"nobody\"",
        "allowed_outbound_hosts entry \"http://{{ open\" is not a valid template",
        "component \"two\": allowed_outbound_hosts entry \"http://with/path\"",
        "\"shelf\"",
        "\"books\"",
    ] {
        ensure!(finished.stderr.contains(expected), "{expected}: {}", finished.text());
    }
    // What only lacks its variable is not wrong besides.
    ensure!(!finished.stderr.contains("{{ token }}"), "{}", finished.text());
    Ok(())
}

fn refused(spinlet: &Spinlet, arguments: &[&str], expected: &str) -> Result<()> {
    let finished = spinlet.finish(arguments)?;
    ensure!(!finished.status.success(), "{arguments:?} must fail\n{}", finished.text());
    ensure!(
        finished.stderr.contains(expected),
        "{arguments:?} must name {expected:?}:\n{}",
        finished.text()
    );
    ensure!(!finished.text().contains("panicked"), "{}", finished.text());
    ensure!(finished.stderr.lines().count() <= 5, "too many words:\n{}", finished.stderr);
    Ok(())
}

#[test]
fn precompiled_code_is_refused() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let path = spinlet.folder().join("native.wasm");
    // An ELF file, which is what compiled components are.
    fs::copy(programs()?.join("spinlet"), &path)?;
    refused(&spinlet, &["up", &path.display().to_string()], "native.wasm")
}

#[test]
fn a_user_without_any_privilege_can_serve_an_app() -> Result<()> {
    require_root()?;
    let folder = tempfile::Builder::new().prefix("spinlet-nobody-").tempdir()?;
    let place = folder.path();
    fs::set_permissions(place, std::fs::Permissions::from_mode(0o755))?;
    fs::copy(programs()?.join("spinlet"), place.join("spinlet"))?;
    copy_app(&guest("hello-rust")?, &place.join("app"))?;
    let state = place.join("state");
    fs::create_dir(&state)?;
    std::os::unix::fs::chown(&state, Some(65534), Some(65534))?;

    let address = free_address()?;
    let mut command = Command::new(system_program("setpriv")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(place.join("spinlet"))
        .args(["up", "app", "--listen", &address.to_string()])
        .env_clear()
        .env("SPINLET_STATE_DIR", &state)
        .current_dir(place);
    let served = Served::start(&mut command, address, &place.join("log"))?;
    assert_eq!(served.get("/")?.text(), "Hello from Rust!\n");
    drop(served);
    no_process_of(place)
}

#[test]
fn the_image_is_compiled_once_by_two_command_lines_at_once() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let app = guest("behaviours")?.display().to_string();
    let both = thread::scope(|scope| {
        let starts = [0, 1].map(|_| scope.spawn(|| spinlet.up(&app, &[])));
        starts.map(|start| start.join().expect("starting does not panic"))
    });
    for served in both {
        assert_eq!(served?.get("/b/hello")?.text(), "hello\n");
    }
    assert_eq!(cache_entries(&spinlet.state())?.len(), 1);
    Ok(())
}

#[test]
fn an_app_can_be_compiled_ahead_of_its_first_start() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let app = hello_rust()?;
    spinlet.run(&["compile", &app])?;
    let entries = cache_entries(&spinlet.state())?;
    assert_eq!(entries.len(), 1);
    let served = spinlet.up(&app, &[])?;
    wait_until(Duration::from_secs(5), || Ok(served.get("/").ok())).context("no answer")?;
    assert_eq!(cache_entries(&spinlet.state())?, entries);
    Ok(())
}
