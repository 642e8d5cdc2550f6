//! `runtime-config.toml`: where it is found, what it refuses, and the services it
//! leads to. Redis is a real server; where none can be started, a stand-in of our
//! own speaks the service's protocol and says so in its name.
#![expect(clippy::indexing_slicing, reason = "a test ends where it fails")]

mod cosmos_stand_in;
mod libsql_stand_in;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http::{self, request};
use integration_tests::process::{Running, free_address, wait_until};
use integration_tests::registry::Registry;
use integration_tests::servers::Moto;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::stand_in::{Answer, Asked, StandIn};
use integration_tests::workspace::{guest, system_program};
use serde_json::json;

const SECRET: &str = "hunter2";

/// A guest, served with a runtime configuration.
struct Up {
    served: Served,
    _spinlet: Spinlet,
}

impl Up {
    fn start(name: &str, config: &str) -> Result<Self> {
        Self::with(name, config, &[])
    }

    fn with(name: &str, config: &str, more: &[&str]) -> Result<Self> {
        let spinlet = Spinlet::new()?;
        let (app, config) = prepare(&spinlet, name, config)?;
        let mut arguments = vec!["--runtime-config-file", config.as_str()];
        arguments.extend(more);
        let served = spinlet.up(&app, &arguments)?;
        Ok(Self { served, _spinlet: spinlet })
    }

    fn expect(&self, target: &str, status: u16, text: &str) -> Result<()> {
        let response = self.served.get(target)?;
        let found = (response.status, response.text());
        ensure!(
            found.0 == status && found.1.contains(text),
            "{target}: {found:?} instead of {status} with {text:?}\n{}",
            self.served.output()
        );
        ensure!(!self.served.output().contains(SECRET), "{}", self.served.output());
        Ok(())
    }

    fn sql(&self, statements: &str) -> Result<(u16, String)> {
        let address = self.served.address();
        let response = request(address, "POST", "/sql", &[], statements.as_bytes())?;
        Ok((response.status, response.text()))
    }
}

/// Writes a configuration beside a file with a secret; the guest's folder and the
/// configuration.
fn prepare(spinlet: &Spinlet, name: &str, config: &str) -> Result<(String, String)> {
    let path = spinlet.folder().join("runtime-config.toml");
    fs::write(&path, config)?;
    fs::write(spinlet.folder().join("secret"), format!("{SECRET}\n"))?;
    Ok((guest(name)?.display().to_string(), path.display().to_string()))
}

/// Redis, with a password.
struct Redis {
    port: u16,
    folder: PathBuf,
    _process: Running,
    _folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
        let port = free_address()?.port();
        let mut command = Command::new(system_program("redis-server")?);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--requirepass", SECRET, "--port", &port.to_string()]);
        command.arg("--dir").arg(folder.path());
        let process = Running::start(&mut command, &folder.path().join("redis.log"))?;
        let answers = || Ok(TcpStream::connect(("127.0.0.1", port)).ok());
        wait_until(Duration::from_secs(20), answers).context("redis-server does not listen")?;
        Ok(Self { port, folder: folder.path().to_owned(), _process: process, _folder: folder })
    }

    /// A file with its URL, in which the password is.
    fn url_file(&self) -> Result<PathBuf> {
        let path = self.folder.join("url");
        fs::write(&path, format!("redis://:{SECRET}@127.0.0.1:{}\n", self.port))?;
        Ok(path)
    }
}

fn expect_a_whole_store(up: &Up) -> Result<()> {
    up.expect("/get?key=k", 200, "none")?;
    up.expect("/set?key=k&value=v", 200, "set")?;
    up.expect("/get?key=k", 200, "v")?;
    up.expect("/exists?key=k", 200, "true")?;
    up.expect("/set?key=a&value=", 200, "set")?;
    up.expect("/keys", 200, "a,k")?;
    up.expect("/delete?key=a", 200, "deleted")?;
    up.expect("/exists?key=a", 200, "false")?;
    up.expect("/wasi/increment?key=n&by=5", 200, "5")?;
    up.expect("/wasi/increment?key=n&by=-7", 200, "-2")?;
    up.expect("/wasi/increment?key=k&by=1", 500, "not a number")?;
    up.expect("/wasi/swap?key=s", 200, "none,first,third")?;
    up.expect("/wasi/batch", 200, "a=A,b=none,c=C")?;
    up.expect("/wasi/keys", 200, "a,c,k,n,s")?;
    up.expect("/get?label=other&key=k", 500, "AccessDenied")
}

#[test]
fn a_store_in_redis_does_everything_a_store_does() -> Result<()> {
    let redis = Redis::start()?;
    let url = redis.url_file()?;
    let config = format!("[key_value_store.default]\ntype = 'redis'\nurl_file = {url:?}");
    expect_a_whole_store(&Up::start("stores", &config)?)?;
    // The data is the server's; another generation of guests finds it.
    let again = Up::start("stores-p3", &config)?;
    again.expect("/get?key=k", 200, "v")?;
    again.expect("/keys", 200, "a,c,k,n,s")
}

#[test]
fn a_store_whose_server_is_gone_is_an_error_of_the_call_and_comes_back() -> Result<()> {
    let config =
        format!("[key_value_store.default]\ntype = 'redis'\nurl = 'redis://:{SECRET}@127.0.0.1:1'");
    let up = Up::start("stores", &config)?;
    up.expect("/get?key=k", 500, "127.0.0.1:1")?;
    up.expect("/get?key=k", 500, "refused")
}

/// Moto with the table `carts`.
fn moto_with_a_table() -> Result<Moto> {
    let moto = Moto::start("dynamodb")?;
    let table = json!({
        "TableName": "carts",
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "PK", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "PK", "AttributeType": "S" }],
    });
    moto.call("DynamoDB_20120810.CreateTable", &table)?;
    Ok(moto)
}

#[test]
fn a_store_in_dynamodb_does_everything_a_store_does() -> Result<()> {
    let moto = moto_with_a_table()?;
    let config = "[key_value_store.default]\ntype = 'aws_dynamo'\nregion = 'eu-west-1'\n\
                  table = 'carts'\nconsistent_read = 'true'";
    let keys = format!("{config}\naccess_key = 'id'\nsecret_key_file = 'secret'");
    let endpoint = format!("AWS_ENDPOINT_URL={}", moto.url());
    expect_a_whole_store(&Up::with("stores", &keys, &["--env", &endpoint])?)?;
    // The identity of a workload is told by the environment.
    let identity = ["AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=x", endpoint.as_str()];
    let arguments = identity.map(|variable| ["--env", variable]).concat();
    let up = Up::with("stores-p3", config, &arguments)?;
    up.expect("/get?key=k", 200, "v")?;
    let missing = keys.replace("carts", "nobody");
    let up = Up::with("stores", &missing, &["--env", &endpoint])?;
    up.expect("/get?key=k", 500, "ResourceNotFoundException")
}

#[test]
fn a_store_in_cosmos_does_everything_a_store_does() -> Result<()> {
    let cosmos = cosmos_stand_in::start()?;
    let config = format!(
        "[key_value_store.default]\ntype = 'azure_cosmos'\naccount = '{}'\n\
         database = 'shop'\ncontainer = 'carts'\nkey = '{}'",
        cosmos.url(),
        cosmos_stand_in::KEY
    );
    let up = Up::start("stores", &config)?;
    expect_a_whole_store(&up)?;
    up.expect("/set?key=a/b&value=v", 500, "must not be empty or contain any of")
}

#[test]
fn a_database_of_libsql_runs_statements_and_transactions() -> Result<()> {
    let server = libsql_stand_in::start()?;
    let config = format!(
        "[sqlite_database.default]\ntype = 'libsql'\nurl = '{}'\ntoken_file = 'secret'",
        server.url()
    );
    for name in ["stores", "stores-p3"] {
        let up = Up::start(name, &config)?;
        let statements = "DROP TABLE IF EXISTS t;\
                          CREATE TABLE t (n INTEGER, t TEXT, r REAL, b BLOB);\
                          INSERT INTO t VALUES (1, 'one', 0.5, x'0102'), (2, NULL, NULL, NULL)";
        assert_eq!(up.sql(statements)?.0, 200);
        let rows = "n,t,r,b\n1,one,0.5,2 bytes\n2,null,null,null\n";
        assert_eq!(up.sql("SELECT * FROM t ORDER BY n")?, (200, rows.to_owned()));
        // Within one transaction the guest sees what it will give up.
        let given_up = "BEGIN;DELETE FROM t;SELECT count(*) AS c FROM t;ROLLBACK";
        assert_eq!(up.sql(given_up)?.0, 200);
        let kept = "BEGIN;INSERT INTO t (n) VALUES (3);COMMIT;SELECT count(*) AS c FROM t";
        assert_eq!(up.sql(kept)?, (200, "c\n3\n".to_owned()));
        let wrong = up.sql("SELECT * FROM nobody")?;
        assert!(wrong.0 == 500 && wrong.1.contains("no such table: nobody"), "{wrong:?}");
        up.expect("/sql/open-many?count=3", 200, "3")?;
    }
    Ok(())
}

fn vault(asked: &Asked) -> Answer {
    if asked.header("x-vault-token") != SECRET {
        return Answer::json(403, &json!({ "errors": ["permission denied"] }));
    }
    match asked.target.as_str() {
        "/v1/kv/data/shop/password" => {
            Answer::json(200, &json!({ "data": { "data": { "value": "of-the-vault" } } }))
        }
        _ => Answer::json(404, &json!({ "errors": [] })),
    }
}

#[test]
fn variables_come_from_vault_from_files_and_from_the_environment_in_their_order() -> Result<()> {
    let vault = StandIn::start(vault)?;
    let config = format!(
        "[[variables_provider]]\ntype = 'vault'\nurl = '{}'\ntoken_file = 'secret'\n\
         mount = 'kv'\nprefix = 'shop'\n\
         [[variables_provider]]\ntype = 'static'\nvalues = {{ greeting = 'static' }}",
        vault.url()
    );
    for name in ["configured", "configured-p3"] {
        let up = Up::with(name, &config, &["--variable", "greeting=env"])?;
        up.expect("/variable?name=login", 200, "me:of-the-vault")?;
        up.expect("/variable?name=greeting", 200, "static!")?;
        up.expect("/variable?name=password", 500, "Undefined")?;
        up.expect("/variable?name=Not-A-Name", 500, "InvalidName")?;
    }
    Ok(())
}

#[test]
fn a_vault_that_refuses_is_an_error_of_the_provider() -> Result<()> {
    let refusing =
        StandIn::start(|_| Answer::json(403, &json!({ "errors": ["permission denied"] })))?;
    let config = format!(
        "[[variables_provider]]\ntype = 'vault'\nurl = '{}'\ntoken = '{SECRET}'\nmount = 'kv'",
        refusing.url()
    );
    for name in ["configured", "configured-p3"] {
        let up = Up::with(name, &config, &["--variable", "password=x"])?;
        up.expect("/variable?name=login", 500, "Provider")?;
        up.expect("/variable?name=login", 500, "permission denied")?;
    }
    Ok(())
}

#[test]
fn wasi_config_gives_the_variables_of_the_component() -> Result<()> {
    let config = "[[variables_provider]]\ntype = 'static'\nvalues = { password = 'p' }";
    let up = Up::start("configured", config)?;
    up.expect("/wasi/get?name=login", 200, "me:p")?;
    up.expect("/wasi/get?name=password", 200, "none")?;
    up.expect("/wasi/get?name=Not-A-Name", 200, "none")?;
    up.expect("/wasi/all", 200, "greeting=a default!,login=me:p")
}

#[test]
fn a_static_provider_reads_a_folder_of_secrets() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let (app, config) = prepare(
        &spinlet,
        "configured",
        "[[variables_provider]]\ntype = 'static'\npath = 'secrets'",
    )?;
    fs::create_dir(spinlet.folder().join("secrets"))?;
    fs::write(spinlet.folder().join("secrets/password"), "from-a-file\n")?;
    let served = spinlet.up(&app, &["--runtime-config-file", &config])?;
    assert_eq!(served.get("/variable?name=login")?.text(), "me:from-a-file");
    Ok(())
}

fn language_models(asked: &Asked) -> Answer {
    // Each protocol writes the name of the scheme in its own way.
    let scheme = if asked.target.starts_with("/v1/") { "Bearer" } else { "bearer" };
    if asked.header("authorization") != format!("{scheme} {SECRET}") {
        return Answer::json(401, &json!({ "error": { "message": "who are you" } }));
    }
    let body = asked.json();
    let model = body["model"].as_str().unwrap_or_default();
    match asked.target.as_str() {
        "/infer" => {
            let text = format!("{model} says {}", body["prompt"].as_str().unwrap_or_default());
            let usage = json!({ "promptTokenCount": 2, "generatedTokenCount": 3 });
            Answer::json(200, &json!({ "text": text, "usage": usage }))
        }
        "/embed" => Answer::json(
            200,
            &json!({ "embeddings": [[0.5], [1.0]], "usage": { "promptTokenCount": 4 } }),
        ),
        "/v1/chat/completions" => {
            let prompt = body["messages"][0]["content"].as_str().unwrap_or_default();
            let text = format!("{model} says {prompt}");
            let usage = json!({ "prompt_tokens": 2, "completion_tokens": 3 });
            Answer::json(
                200,
                &json!({ "choices": [{ "message": { "content": text } }], "usage": usage }),
            )
        }
        _ => Answer::json(
            200,
            &json!({
                "data": [{ "index": 0, "embedding": [0.5] }, { "index": 1, "embedding": [1.0] }],
                "usage": { "prompt_tokens": 4 },
            }),
        ),
    }
}

#[test]
fn language_models_are_run_by_a_server_over_both_protocols() -> Result<()> {
    let server = StandIn::start(language_models)?;
    for api in ["", "api_type = 'open_ai'"] {
        let config = format!(
            "[llm_compute]\ntype = 'remote_http'\nurl = '{}'\nauth_token_file = 'secret'\n{api}",
            server.url()
        );
        let up = Up::with("configured", &config, &["--variable", "password=x"])?;
        up.expect("/infer?model=llama2-chat&prompt=hello", 200, "llama2-chat says hello (2+3)")?;
        up.expect("/embed?model=llama2-chat&text=a,b", 200, "[[0.5], [1.0]] (4)")?;
        let denied = "The component does not have access to use 'gpt'";
        up.expect("/infer?model=gpt&prompt=hello", 500, denied)?;
    }
    let config = format!(
        "[llm_compute]\ntype = 'remote_http'\nurl = '{}'\nauth_token = 'wrong'",
        server.url()
    );
    let up = Up::with("configured-p3", &config, &["--variable", "password=x"])?;
    up.expect("/infer?model=llama2-chat&prompt=hello", 500, "who are you")
}

#[test]
fn everything_wrong_with_a_configuration_is_said_before_anything_listens() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let config = format!(
        "colour = 'red'\n[key_value_store.cache]\ntype = 'redis'\nurl = '{SECRET}'\n\
         [sqlite_database.x]\ntype = 'libsql'\nurl = 'http://x'"
    );
    let (app, config) = prepare(&spinlet, "stores", &config)?;
    let finished = spinlet.finish(&["up", &app, "--runtime-config-file", &config])?;
    ensure!(!finished.status.success(), "it started: {}", finished.text());
    for part in ["runtime-config.toml", "colour", "[key_value_store.cache]", "token"] {
        ensure!(finished.text().contains(part), "{part} is not in {}", finished.text());
    }
    ensure!(!finished.text().contains(SECRET), "{}", finished.text());
    let missing = spinlet.finish(&["up", &app, "--runtime-config-file", "nowhere.toml"])?;
    ensure!(!missing.status.success() && missing.text().contains("nowhere.toml"));
    Ok(())
}

/// The operator mounts a Secret there.
#[test]
fn a_container_finds_its_configuration_where_the_operator_puts_it() -> Result<()> {
    let containerd = Containerd::start(Version::V2)?;
    let registry = Registry::start()?;
    let image = registry.reference("configured");
    Spinlet::new()?.run(&["push", &guest("configured")?.display().to_string(), &image])?;
    containerd.pull(&image)?;
    let mount = |source: &Path| {
        let source = source.display();
        format!("type=bind,src={source},dst=/runtime-config.toml,options=rbind:ro")
    };

    let config = containerd.folder().join("operator.toml");
    let text = "[[config_provider]]\ntype = 'static'\nvalues = { password = 'p' }\n\
                [key_value_store.x]\ntype = 'aws_dynamo'\nregion = 'r'\ntable = 't'\n\
                consistent_read = 'true'\n";
    fs::write(&config, text)?;
    let address = containerd.run(&image, "app", &["--mount", &mount(&config)])?;
    assert_eq!(http::get(address, "/variable?name=login")?.text(), "me:p");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);

    // An optional Secret that does not exist leaves an empty folder.
    let folder = containerd.folder().join("empty");
    fs::create_dir(&folder)?;
    let options = ["--mount", &mount(&folder), "--env", "PASSWORD=env"];
    let address = containerd.run(&image, "again", &options)?;
    assert_eq!(http::get(address, "/variable?name=login")?.text(), "me:env");
    assert_eq!(containerd.stop("again", "SIGTERM")?, 0);
    Ok(())
}
