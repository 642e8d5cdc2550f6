//! The rules of the workspace: who may depend on whom, which lints hold, what
//! may be linked, and that the documents name what exists.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on ends where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::process::output_of;
use integration_tests::workspace::repository;
use serde_json::Value;

/// Every edge between our packages; one that is missing here or is not used is
/// a failure.
const EDGES: &[(&str, &[&str])] = &[
    ("app", &[]),
    ("artifact", &["app"]),
    ("aws-client", &["http-client", "runtime-config"]),
    ("azure-identity", &["http-client", "runtime-config"]),
    ("bench", &["app", "artifact", "container", "process-setup"]),
    ("cluster-manifests", &["spinapp-api"]),
    ("command-trigger", &["app", "host", "trigger"]),
    ("compiler", &["app", "componentize", "composition", "engine", "process-setup"]),
    ("componentize", &[]),
    ("composition", &["app"]),
    ("container", &[]),
    (
        "containerd-shim-spin",
        &[
            "artifact",
            "container",
            "containerd-task",
            "content-store",
            "control",
            "oci-runtime",
            "payload",
            "process-setup",
        ],
    ),
    ("containerd-task", &[]),
    ("content-store", &["app", "artifact"]),
    ("control", &[]),
    ("cron-trigger", &["app", "trigger"]),
    ("embedded-database", &[]),
    ("engine", &["app"]),
    (
        "host",
        &[
            "app",
            "engine",
            "http-client",
            "key-value",
            "llm",
            "outbound-hosts",
            "outbound-mqtt",
            "outbound-mysql",
            "outbound-network",
            "outbound-postgres",
            "outbound-redis",
            "sqlite",
            "telemetry",
            "variables",
        ],
    ),
    ("http-client", &[]),
    ("http-trigger", &["app", "engine", "host", "outbound-hosts", "telemetry", "trigger"]),
    ("integration-tests", &["container", "otlp-collector", "test-servers"]),
    ("key-value", &["embedded-database"]),
    ("key-value-cosmos", &["azure-identity", "http-client", "key-value", "runtime-config"]),
    ("key-value-dynamo", &["aws-client", "key-value"]),
    ("key-value-redis", &["http-client", "key-value", "runtime-config"]),
    ("llm", &["http-client", "runtime-config", "telemetry"]),
    ("micro-benchmarks", &["app", "componentize", "engine", "host", "http-trigger", "trigger"]),
    ("mqtt-trigger", &["app", "host", "outbound-network", "trigger"]),
    ("native-server", &[]),
    ("node-install", &[]),
    ("node-installer", &["node-install", "process-setup"]),
    ("noop-shim", &[]),
    ("oci-runtime", &["containerd-task"]),
    ("otlp-collector", &[]),
    ("outbound-hosts", &[]),
    ("outbound-mqtt", &["outbound-hosts", "outbound-network", "telemetry"]),
    ("outbound-mysql", &["outbound-hosts", "outbound-network", "telemetry"]),
    ("outbound-network", &["outbound-hosts"]),
    ("outbound-postgres", &["outbound-network", "telemetry"]),
    ("outbound-redis", &["outbound-hosts", "outbound-network", "telemetry"]),
    ("payload", &[]),
    ("process-setup", &[]),
    ("redis-trigger", &["app", "host", "outbound-network", "trigger"]),
    ("registry", &["app", "artifact"]),
    (
        "runtime",
        &[
            "app",
            "artifact",
            "aws-client",
            "azure-identity",
            "command-trigger",
            "container",
            "content-store",
            "control",
            "cron-trigger",
            "engine",
            "host",
            "http-trigger",
            "key-value",
            "key-value-cosmos",
            "key-value-dynamo",
            "key-value-redis",
            "llm",
            "mqtt-trigger",
            "outbound-hosts",
            "outbound-network",
            "process-setup",
            "redis-trigger",
            "runtime-config",
            "sqlite",
            "sqlite-libsql",
            "sqs-trigger",
            "telemetry",
            "trigger",
            "variables",
            "wasi-otel",
            "wasi-snapshots",
            "wasm-download",
        ],
    ),
    ("runtime-config", &["app"]),
    ("spinapp-api", &[]),
    ("spinapp-controller", &["process-setup", "spinapp-api"]),
    (
        "spinlet",
        &[
            "app",
            "artifact",
            "control",
            "node-install",
            "payload",
            "process-setup",
            "registry",
            "runtime-config",
            "wasm-download",
        ],
    ),
    ("sqlite", &["embedded-database"]),
    ("sqlite-libsql", &["http-client", "runtime-config", "sqlite"]),
    ("sqs-trigger", &["app", "aws-client", "trigger"]),
    ("telemetry", &["http-client", "process-setup"]),
    ("test-servers", &[]),
    ("trigger", &["app", "host", "telemetry"]),
    ("variables", &["app", "azure-identity", "http-client", "runtime-config"]),
    ("wasi-otel", &["telemetry"]),
    ("wasi-snapshots", &[]),
    ("wasm-download", &["app", "artifact", "http-client"]),
];

/// The engine must stay out of these: they are in the shim's process, in the
/// command line's, or below both.
const WITHOUT_ENGINE: &[&str] = &[
    "app",
    "artifact",
    "container",
    "containerd-shim-spin",
    "containerd-task",
    "content-store",
    "control",
    "node-install",
    "node-installer",
    "oci-runtime",
    "payload",
    "process-setup",
    "registry",
    "spinapp-api",
    "spinapp-controller",
    "spinlet",
];

/// The whole dependency graph, without what only tests need.
struct Graph {
    packages: BTreeMap<String, Package>,
}

struct Package {
    name: String,
    manifest: PathBuf,
    ours: bool,
    dependencies: Vec<String>,
}

impl Graph {
    fn read() -> Result<Self> {
        let metadata = cargo(&["metadata", "--locked", "--format-version", "1"])?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let members = strings(&metadata["workspace_members"]);
        let mut packages = BTreeMap::new();
        for package in metadata["packages"].as_array().context("no packages")? {
            let id = text(&package["id"]);
            let entry = Package {
                name: text(&package["name"]),
                manifest: PathBuf::from(text(&package["manifest_path"])),
                ours: members.contains(&id),
                dependencies: Vec::new(),
            };
            packages.insert(id, entry);
        }
        for node in metadata["resolve"]["nodes"].as_array().context("no graph")? {
            let package = packages.get_mut(&text(&node["id"])).context("a node without package")?;
            for dependency in node["deps"].as_array().context("no dependencies")? {
                let kinds = dependency["dep_kinds"].as_array().context("no kinds")?;
                if kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev")) {
                    package.dependencies.push(text(&dependency["pkg"]));
                }
            }
        }
        Ok(Self { packages })
    }

    fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.ours)
    }

    /// The names of everything that a package needs, directly or not.
    fn below(&self, package: &Package) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        let mut ids: Vec<&String> = package.dependencies.iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = ids.pop() {
            if seen.insert(id) {
                names.insert(self.packages[id].name.as_str());
                ids.extend(&self.packages[id].dependencies);
            }
        }
        names
    }
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(env!("CARGO"));
    output_of(command.current_dir(repository()).args(arguments), Duration::from_mins(2))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// Every file below a folder with this extension, without build output.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn our_packages_depend_on_each_other_only_in_the_allowed_directions() -> Result<()> {
    let graph = Graph::read()?;
    let mut actual = BTreeMap::new();
    for package in graph.ours() {
        let ours = package.dependencies.iter().map(|id| &graph.packages[id]);
        let names: BTreeSet<&str> =
            ours.filter(|other| other.ours).map(|other| other.name.as_str()).collect();
        actual.insert(package.name.as_str(), names);
    }
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    assert_eq!(actual, allowed, "left: what is; right: what may be");
    Ok(())
}

#[test]
fn wasmtime_cannot_be_reached_from_the_shim_and_the_command_line() -> Result<()> {
    let graph = Graph::read()?;
    for package in graph.ours().filter(|package| WITHOUT_ENGINE.contains(&package.name.as_str())) {
        let below = graph.below(package);
        let engine: Vec<_> = below
            .iter()
            .filter(|name| name.starts_with("wasmtime") || name.starts_with("cranelift"))
            .collect();
        assert!(engine.is_empty(), "{} reaches {engine:?}", package.name);
    }
    Ok(())
}

#[test]
fn the_runtime_contains_no_compiler() -> Result<()> {
    let arguments = ["tree", "--locked", "-p", "runtime", "-e", "normal", "--prefix", "none"];
    let tree = cargo(&arguments)?;
    ensure!(tree.contains("wasmtime v"), "the runtime has no engine either:\n{tree}");
    for line in tree.lines() {
        assert!(
            !line.starts_with("cranelift-codegen ")
                && !line.starts_with("wasmtime-internal-cranelift"),
            "the runtime contains {line}"
        );
    }
    Ok(())
}

#[test]
fn no_crate_of_the_spin_project_or_of_runwasi_is_linked() -> Result<()> {
    for package in Graph::read()?.packages.values().filter(|package| !package.ours) {
        let name = package.name.as_str();
        let foreign = name.starts_with("spin-")
            || name.starts_with("containerd-shim-wasm")
            || name.starts_with("containerd-shimkit");
        assert!(!foreign, "{name} must not be used");
    }
    Ok(())
}

#[test]
fn every_package_inherits_the_lints_of_the_workspace() -> Result<()> {
    for package in Graph::read()?.ours() {
        let manifest = fs::read_to_string(&package.manifest)?;
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package.manifest.display());
    }
    Ok(())
}

#[test]
fn every_package_reads_its_environment_in_one_file() -> Result<()> {
    for package in Graph::read()?.ours() {
        let sources = package.manifest.with_file_name("src");
        let mut readers = Vec::new();
        for file in files(&sources, "rs")? {
            let source = fs::read_to_string(&file)?;
            // What comes after is compiled for unit tests only.
            let program = source.split("#[cfg(test)]").next().unwrap_or_default();
            let reads = ["env::var(", "env::vars(", "env::var_os(", "env::vars_os("];
            let test = file.ends_with("tests.rs") || package.name == "integration-tests";
            if !test && reads.iter().any(|read| program.contains(read)) {
                readers.push(file);
            }
        }
        assert!(readers.len() <= 1, "{} reads it in {readers:?}", package.name);
    }
    Ok(())
}

#[test]
fn the_documents_name_only_paths_that_exist() -> Result<()> {
    let roots = ["crates/", "scripts/", "examples/", "tests/", "benches/", "runtimeclass/", ".ci/"];
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let source = fs::read_to_string(repository().join(document))?;
        let words =
            source.split(|letter: char| letter.is_whitespace() || "`()[]<>|,;".contains(letter));
        for word in words {
            let path = word.trim_start_matches("./").trim_end_matches(['.', ':', '/']);
            let exact = roots.iter().any(|root| path.starts_with(root))
                && !path.contains(['*', '{', '$', '…', '=']);
            if exact {
                assert!(repository().join(path).exists(), "{document} names {path}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_guest_is_used_by_a_test_and_every_example_has_a_readme() -> Result<()> {
    let mut sources = String::new();
    let guests = repository().join("tests/guests");
    for file in files(&repository().join("tests"), "rs")? {
        if !file.starts_with(&guests) {
            sources += &fs::read_to_string(file)?;
        }
    }
    for folder in ["examples", "tests/guests"] {
        for manifest in files(&repository().join(folder), "toml")? {
            let Some(guest) = manifest.parent().filter(|_| manifest.ends_with("spin.toml")) else {
                continue;
            };
            let name = guest.file_name().context("a guest without name")?.to_string_lossy();
            assert!(sources.contains(&format!("\"{name}\"")), "no test uses the guest {name}");
            if folder == "examples" {
                assert!(guest.join("README.md").is_file(), "{name} has no README.md");
            }
        }
    }
    Ok(())
}

/// The names of all our tests, those that a macro makes included.
fn tests() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut sources = files(&repository().join("crates"), "rs")?;
    sources.extend(files(&repository().join("tests"), "rs")?);
    for source in sources {
        let source = fs::read_to_string(source)?;
        let mut marked = false;
        let mut cases = false;
        for line in source.lines().map(str::trim) {
            marked |= ["#[test]", "#[tokio::test"].iter().any(|mark| line.starts_with(mark));
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
                names.extend(rest.split('(').next().map(str::to_owned));
                marked = false;
            }
            cases = (cases || line == "on_every_containerd!(") && line != ");";
            names.extend(line.strip_suffix(',').filter(|_| cases).map(str::to_owned));
        }
    }
    Ok(names)
}

/// One row of a table of docs/compatibility.md or docs/traps.md.
struct Claim {
    /// The heading its table stands under.
    table: String,
    what: String,
    state: String,
    proofs: String,
}

/// The rows of such a page; one that has not four cells goes to
/// `problems`.
fn claims(document: &str, problems: &mut Vec<String>) -> Vec<Claim> {
    let mut table = String::new();
    let mut claims = Vec::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut table);
        }
        let is_row = line.starts_with('|') && !line.starts_with("|---");
        if table.is_empty() || !is_row || line == "| what | state | test | note |" {
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        // The line starts and ends with a bar.
        let ["", what, state, proofs, _, ""] = cells[..] else {
            problems.push(format!("not four cells: {line}"));
            continue;
        };
        let [what, state, proofs] = [what, state, proofs].map(str::to_owned);
        claims.push(Claim { table: table.clone(), what, state, proofs });
    }
    claims
}

/// The words of a text in lower case, without punctuation.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Pairs of rows of one table that are about the same thing: both have the same
/// name, or what one of them says is missing is part of what the other has.
fn contradictions(claims: &[Claim]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        for (other_index, other) in claims.iter().enumerate() {
            if index == other_index || claim.table != other.table {
                continue;
            }
            let same = index < other_index && words(&claim.what) == words(&other.what);
            let denied = claim.state == "not" && other.state != "not";
            let has = words(&other.what);
            let denied = denied && claim.what.split(',').any(|thing| words(thing).is_subset(&has));
            if same || denied {
                let (table, what, other) = (&claim.table, &claim.what, &other.what);
                found.push(format!("{table}: {what:?} and {other:?} are about the same thing"));
            }
        }
    }
    found
}

#[test]
fn every_claim_of_compatibility_names_a_test_that_exists() -> Result<()> {
    let tests = tests()?;
    for page in ["docs/compatibility.md", "docs/traps.md"] {
        let document = fs::read_to_string(repository().join(page))?;
        let problems = unproved(&document, &tests);
        assert!(problems.is_empty(), "{page}:\n{}", problems.join("\n"));
    }
    Ok(())
}

/// What is wrong with the tables of a page.
fn unproved(document: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let claims = claims(document, &mut problems);
    if claims.is_empty() {
        problems.push("it has no table".to_owned());
    }
    for Claim { what, state, proofs, .. } in &claims {
        let names: Vec<&str> =
            proofs.split(',').map(|name| name.trim().trim_matches('`')).collect();
        let unknown = names.iter().filter(|name| !tests.contains(**name));
        match state.as_str() {
            "not" if proofs.is_empty() => {}
            "works" | "differs" => {
                problems.extend(unknown.map(|name| format!("{what}: there is no test {name:?}")));
            }
            _ => problems.push(format!("{what}: {state:?} with the tests {proofs:?}")),
        }
    }
    problems.extend(contradictions(&claims));
    problems
}

#[test]
fn claims_that_contradict_each_other_are_noticed() {
    let table = "## A\n| `x:redis/redis@2.0.0` | works | `t` | |\n| MQTT 5 | works | `t` | |\n";
    let found = |row: &str| {
        let mut problems = Vec::new();
        let claims = claims(&format!("{table}{row}"), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        contradictions(&claims).len()
    };
    assert_eq!(found("| MQTT 3 | not | | |"), 0);
    assert_eq!(found("| Redis | not | | |"), 1);
    assert_eq!(found("| Kafka, MQTT | not | | |"), 1);
    assert_eq!(found("| mqtt `5` | differs | `t` | |"), 1);
    assert_eq!(found("## B\n| Redis | not | | |"), 0);
}
