use super::*;

fn parse(text: &str) -> Result<RuntimeConfig, String> {
    RuntimeConfig::parse(text, Path::new("/etc/app")).map_err(|error| error.to_string())
}

fn inline(text: &str) -> Secret {
    Secret::Inline(text.to_owned())
}

#[test]
fn an_empty_file_changes_nothing() {
    assert_eq!(parse("").unwrap(), RuntimeConfig::default());
    assert!(parse("").unwrap().outbound_http.connection_pooling);
}

#[test]
fn folders_and_limits_are_read() {
    let config = parse(
        r#"
        state_dir = "state"
        log_dir = ""
        max_instance_memory = 1000000
        outbound_redis = { max_connections = 1 }
        outbound_pg = { max_connections = 2 }
        outbound_mysql = { max_connections = 3 }
        outbound_mqtt = { max_connections = 4, max_payload_size_bytes = 5 }
        [outbound_networking]
        block_networks = ["1.2.3.0/24", "private"]
        max_socket_connections = 6
        max_total_connections = 7
        "#,
    )
    .unwrap();
    assert_eq!(config.state_dir, Some(Folder::At("/etc/app/state".into())));
    assert_eq!(config.log_dir, Some(Folder::Nowhere));
    assert_eq!(config.max_instance_memory, Some(1_000_000));
    let limits = [config.outbound_redis, config.outbound_pg, config.outbound_mysql];
    assert_eq!(limits, [Some(1), Some(2), Some(3)]);
    assert_eq!((config.outbound_mqtt, config.outbound_mqtt_max_payload), (Some(4), Some(5)));
    assert_eq!(config.outbound_networking.block_networks, ["1.2.3.0/24", "private"]);
    assert_eq!(config.outbound_networking.max_socket_connections, Some(6));
    assert_eq!(config.outbound_networking.max_total_connections, Some(7));
}

#[test]
fn every_kind_of_key_value_store_is_read() {
    let config = parse(
        r#"
        [key_value_store.default]
        type = "spin"
        path = "kv.db"
        [key_value_store.memory]
        type = "spin"
        [key_value_store.redis]
        type = "redis"
        url = "redis://:password@redis:6379/1"
        [key_value_store.cosmos]
        type = "azure_cosmos"
        key_file = "/secrets/cosmos"
        account = "a"
        database = "d"
        container = "c"
        [key_value_store.dynamo]
        type = "aws_dynamo"
        region = "eu-west-1"
        table = "t"
        access_key = "id"
        secret_key = "key"
        "#,
    )
    .unwrap();
    let stores = config.key_value_stores;
    let path = Some("/etc/app/kv.db".into());
    assert_eq!(stores["default"], KeyValueStore::Embedded { path });
    assert_eq!(stores["memory"], KeyValueStore::Embedded { path: None });
    let url = inline("redis://:password@redis:6379/1");
    assert_eq!(stores["redis"], KeyValueStore::Redis { url });
    let KeyValueStore::AzureCosmos { key, account, .. } = &stores["cosmos"] else { panic!() };
    assert_eq!(key, &Some(Secret::File("/secrets/cosmos".into())));
    assert_eq!(account, "a");
    let KeyValueStore::AwsDynamo { consistent_read, credentials, .. } = &stores["dynamo"] else {
        panic!()
    };
    assert!(!consistent_read);
    assert_eq!(credentials.as_ref().unwrap().secret_key, inline("key"));
}

#[test]
fn what_the_operator_writes_is_understood() {
    // All option values are strings there.
    let config = parse(
        r"
        [[config_provider]]
        type = 'env'
        prefix = 'SPIN_VARIABLE_'
        [key_value_store.orders]
        type = 'aws_dynamo'
        region = 'eu-west-1'
        table = 'orders'
        consistent_read = 'true'
        [sqlite_database.default]
        type = 'libsql'
        url = 'https://sensational-penguin-ahacker.libsql.example.com'
        token = 'a secret'
        [llm_compute]
        type = 'remote_http'
        url = 'http://example.com'
        auth_token = 'a secret'
        ",
    )
    .unwrap();
    let prefix = Some("SPIN_VARIABLE_".to_owned());
    let environment = VariablesProvider::Environment { prefix, dotenv_path: None };
    assert_eq!(config.variables_providers, [environment]);
    assert!(matches!(
        config.key_value_stores["orders"],
        KeyValueStore::AwsDynamo { consistent_read: true, credentials: None, .. }
    ));
    assert!(matches!(config.sqlite_databases["default"], SqliteDatabase::LibSql { .. }));
    assert!(matches!(config.llm_compute, Some(LlmCompute::Remote { api: LlmApi::Spin, .. })));
}

#[test]
fn databases_and_models_are_read() {
    let config = parse(
        r#"
        [sqlite_database.default]
        type = "spin"
        path = "data/app.db"
        allow_attach_file = true
        [sqlite_database.memory]
        type = "spin"
        [llm_compute]
        type = "remote_http"
        url = "https://llm.example"
        auth_token_file = "token"
        api_type = "open_ai"
        "#,
    )
    .unwrap();
    // From the working directory, not from the folder of the file.
    let path = Some("data/app.db".into());
    let embedded = SqliteDatabase::Embedded { path, allow_attach_file: true };
    assert_eq!(config.sqlite_databases["default"], embedded);
    assert_eq!(
        config.llm_compute,
        Some(LlmCompute::Remote {
            url: "https://llm.example".into(),
            auth_token: Secret::File("/etc/app/token".into()),
            api: LlmApi::OpenAi,
        })
    );
    let spin = parse("llm_compute = { type = \"spin\" }").unwrap();
    assert_eq!(spin.llm_compute, Some(LlmCompute::Embedded));
}

#[test]
fn providers_of_variables_are_read_in_their_order() {
    let config = parse(
        r#"
        [[variables_provider]]
        type = "static"
        values = { greeting = "hello" }
        path = "/secrets"
        [[variables_provider]]
        type = "vault"
        url = "http://vault:8200"
        token = "root"
        mount = "secret"
        [[variables_provider]]
        type = "azure_key_vault"
        vault_url = "https://v.vault.azure.net"
        client_id = "i"
        client_secret = "s"
        tenant_id = "t"
        authority_host = "AzureChina"
        "#,
    )
    .unwrap();
    let [fixed, vault, azure] = &config.variables_providers[..] else { panic!() };
    let VariablesProvider::Static { values, path } = fixed else { panic!() };
    assert_eq!((values["greeting"].as_str(), path), ("hello", &Some("/secrets".into())));
    assert!(matches!(vault, VariablesProvider::Vault { prefix: None, .. }));
    let VariablesProvider::AzureKeyVault { secret, cloud, .. } = azure else { panic!() };
    assert_eq!(secret.as_ref().unwrap().client_id, "i");
    assert_eq!(cloud.authority(), "https://login.chinacloudapi.cn");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hello") && !shown.contains("root"), "{shown}");
}

#[test]
fn pooling_is_off_where_the_table_does_not_say_and_both_names_of_the_limit_are_known() {
    let http = |text: &str| parse(text).map(|config| config.outbound_http);
    assert!(!http("[outbound_http]").unwrap().connection_pooling);
    let older = http("outbound_http = { max_concurrent_requests = 3, connection_pooling = true }");
    let expected = OutboundHttp { connection_pooling: true, max_connections: Some(4) };
    assert_eq!(older.unwrap(), expected);
    let newer = http("outbound_http = { max_connections = 3 }").unwrap();
    assert_eq!(newer, OutboundHttp { connection_pooling: false, max_connections: Some(3) });
    let absent = http("").unwrap();
    assert_eq!(absent, OutboundHttp { connection_pooling: true, max_connections: None });
    let both = http("outbound_http = { max_concurrent_requests = 3, max_connections = 3 }");
    assert!(both.unwrap_err().contains("two names of one key"));
}

#[test]
fn tls_that_trusts_nobody_and_hosts_that_are_none_are_refused() {
    let tls = |hosts: &str, more: &str| {
        parse(&format!("[[client_tls]]\ncomponent_ids = ['c']\nhosts = {hosts}\n{more}"))
    };
    for more in ["ca_use_platform_roots = false", "ca_use_webpki_roots = false"] {
        assert!(tls("['h']", more).unwrap_err().contains("nobody would be trusted"), "{more}");
    }
    let hosts = tls("['Api.Test', '[::1]', '::1', '10.0.0.1']", "").unwrap().client_tls.remove(0);
    assert_eq!(hosts.hosts, ["api.test", "::1", "::1", "10.0.0.1"]);
    for (host, problem) in [("a:1", "must not have a port"), ("a/b", "is not a host"), ("", "is")] {
        assert!(tls(&format!("['{host}']"), "").unwrap_err().contains(problem), "{host}");
    }
}

#[test]
fn the_roots_that_are_trusted_follow_from_what_is_said() {
    let trusted = |more: &str| {
        let text = format!("[[client_tls]]\ncomponent_ids = ['c']\nhosts = ['h']\n{more}");
        let tls = parse(&text).unwrap().client_tls.remove(0);
        (tls.trust_platform, tls.trust_webpki)
    };
    assert_eq!(trusted(""), (true, false));
    assert_eq!(trusted("ca_roots_file = 'ca.pem'"), (false, false));
    assert_eq!(trusted("ca_use_webpki_roots = true"), (false, true));
    let own = |more: &str| trusted(&format!("ca_roots_file = 'ca.pem'\n{more}"));
    assert_eq!(own("ca_use_platform_roots = false"), (false, false));
    assert_eq!(own("ca_use_webpki_roots = false"), (false, false));
    assert_eq!(own("ca_use_webpki_roots = true"), (false, true));
    assert_eq!(own("ca_use_platform_roots = true"), (true, false));
    assert_eq!(trusted("ca_use_platform_roots = true"), (true, false));
    assert_eq!(
        trusted(
            "ca_roots_file = 'ca.pem'\nca_use_platform_roots = true\nca_use_webpki_roots = true"
        ),
        (true, true)
    );
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let error = parse(
        r#"
        colour = "red"
        max_instance_memory = "much"
        [key_value_store.a]
        type = "postgres"
        anything = 1
        [key_value_store.b]
        type = "redis"
        url = "http://:hunter2@nowhere"
        ttl = 5
        [key_value_store.c]
        type = "azure_cosmos"
        [key_value_store.d]
        type = "aws_dynamo"
        region = "r"
        table = "t"
        token = "hunter2"
        consistent_read = "perhaps"
        [sqlite_database.e]
        type = "libsql"
        url = "libsql://x"
        token = "hunter2"
        token_file = "f"
        [llm_compute]
        type = "remote_http"
        url = 7
        [[client_tls]]
        component_ids = []
        hosts = ["a:443"]
        client_cert_file = "c"
        [[variables_provider]]
        type = "static"
        [[variables_provider]]
        type = "azure_key_vault"
        vault_url = "https://v"
        client_id = "c"
        authority_host = "Mars"
        "#,
    )
    .unwrap_err();
    for part in [
        "unknown key \"colour\"; these are known: state_dir,",
        "max_instance_memory must be a whole number greater than zero, which the given string is not",
        "[key_value_store.a]: there is no type \"postgres\"; these exist: spin, redis,",
        "[key_value_store.b]: url must be a URL that begins with redis:// or rediss://",
        "[key_value_store.b]: unknown key \"ttl\"; these are known: type, url, url_file",
        "[key_value_store.c]: account is missing",
        "[key_value_store.c]: database is missing",
        "[key_value_store.c]: container is missing",
        "[key_value_store.d]: access_key and secret_key belong together",
        "[key_value_store.d]: consistent_read must be true or false",
        "[sqlite_database.e]: url must be a URL that begins with http:// or https://",
        "[sqlite_database.e]: token and token_file exclude each other",
        "[llm_compute]: url must be a string that is not empty, which the given integer is not",
        "[llm_compute]: auth_token or auth_token_file is missing",
        "[[client_tls]] number 1: component_ids must not be empty",
        "[[client_tls]] number 1: the host \"a:443\" must not have a port",
        "[[client_tls]] number 1: client_cert_file and client_private_key_file belong together",
        "[[variables_provider]] number 1: values or path is missing",
        "[[variables_provider]] number 2: client_id, client_secret and tenant_id belong together",
        "[[variables_provider]] number 2: there is no authority_host \"Mars\"",
    ] {
        assert!(error.contains(part), "{part} is not in\n{}", error.replace("; ", ";\n"));
    }
    assert!(!error.contains("anything"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_mistake_of_syntax_names_its_line_and_shows_no_secret() {
    let error =
        parse("state_dir = ''\n[llm_compute]\nauth_token = \"hunter2\nurl = ''").unwrap_err();
    assert!(error.starts_with("line 3: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn names_of_variables_follow_their_grammar() {
    let text = "[[variables_provider]]\ntype = 'static'\nvalues = { 'Not-A-Name' = 'x' }";
    assert!(parse(text).unwrap_err().contains("\"Not-A-Name\" is not a variable name"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }
}
