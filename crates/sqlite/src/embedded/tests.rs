use std::time::{Duration, Instant};

use super::*;

async fn in_memory() -> Arc<dyn Connection> {
    Embedded::new(Location::Memory).connect().await.unwrap()
}

async fn run(connection: &Arc<dyn Connection>, sql: &str) -> Result<QueryResult, SqliteError> {
    connection.execute(sql.to_owned(), Vec::new()).await
}

async fn error(connection: &Arc<dyn Connection>, sql: &str) -> String {
    run(connection, sql).await.unwrap_err().chain()
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_was_given() {
    let connection = in_memory().await;
    let values = vec![
        Value::Integer(i64::MIN),
        Value::Real(-0.5),
        Value::Text("a\0ключ 🗝".to_owned()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    let sql = "SELECT ? AS i, ? AS r, ? AS t, ? AS b, ? AS n".to_owned();
    let result = connection.execute(sql, values.clone()).await.unwrap();
    assert_eq!(result.columns, ["i", "r", "t", "b", "n"]);
    assert_eq!(result.rows, [values]);
}

#[tokio::test]
async fn a_statement_without_rows_still_has_columns() {
    let connection = in_memory().await;
    let created = run(&connection, "CREATE TABLE t (a, b)").await.unwrap();
    assert_eq!(created, QueryResult::default());
    let empty = run(&connection, "SELECT a, b FROM t").await.unwrap();
    assert_eq!(empty.columns, ["a", "b"]);
    assert!(empty.rows.is_empty());
}

#[tokio::test]
async fn a_connection_knows_what_its_last_statement_did() {
    let connection = in_memory().await;
    assert_eq!((connection.last_insert_rowid().await, connection.changes().await), (0, 0));
    run(&connection, "CREATE TABLE t (a)").await.unwrap();
    run(&connection, "INSERT INTO t VALUES (1), (2), (3)").await.unwrap();
    assert_eq!((connection.last_insert_rowid().await, connection.changes().await), (3, 3));
    run(&connection, "DELETE FROM t WHERE a > 1").await.unwrap();
    assert_eq!(connection.changes().await, 2);
}

#[tokio::test]
async fn of_several_statements_the_first_is_run() {
    let connection = in_memory().await;
    run(&connection, "CREATE TABLE t (a); CREATE TABLE u (a)").await.unwrap();
    run(&connection, "INSERT INTO t VALUES (';'); DROP TABLE t;").await.unwrap();
    assert_eq!(run(&connection, "SELECT a FROM t; -- all").await.unwrap().rows.len(), 1);
    assert!(error(&connection, "SELECT * FROM u").await.contains("no such table: u"));
    assert!(error(&connection, "SELEC 1; SELECT 1").await.contains("syntax error"));
}

#[tokio::test]
async fn errors_are_in_the_words_of_sqlite() {
    let connection = in_memory().await;
    assert!(error(&connection, "SELEC 1").await.contains("syntax error"));
    assert!(error(&connection, "SELECT * FROM nobody").await.contains("no such table: nobody"));
    assert!(error(&connection, "SELECT ?").await.contains("parameter"));
    run(&connection, "CREATE TABLE t (a UNIQUE)").await.unwrap();
    run(&connection, "INSERT INTO t VALUES (1)").await.unwrap();
    let text = error(&connection, "INSERT INTO t VALUES (1)").await;
    assert!(text.contains("UNIQUE constraint failed"), "{text}");
    let text = error(&connection, "SELECT CAST(x'ff' AS TEXT)").await;
    assert!(text.contains("not UTF-8"), "{text}");
}

#[tokio::test]
async fn a_full_database_is_said_to_be_full() {
    let connection = in_memory().await;
    run(&connection, "CREATE TABLE t (a)").await.unwrap();
    run(&connection, "PRAGMA max_page_count = 4").await.unwrap();
    let error = run(&connection, "INSERT INTO t VALUES (zeroblob(1000000))").await.unwrap_err();
    assert!(matches!(error, SqliteError::Full), "{error}");
}

#[tokio::test]
async fn a_result_has_a_largest_size() {
    let connection = in_memory().await;
    let error = run(
        &connection,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
         SELECT zeroblob(10000000) FROM n",
    )
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "query result exceeds limit of 134217728 bytes");
    let text = self::error(&connection, "SELECT zeroblob(200000000)").await;
    assert!(text.contains("too big"), "{text}");
}

#[tokio::test]
async fn connections_in_memory_are_databases_of_their_own() {
    let database = Embedded::new(Location::Memory);
    let (one, two) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    run(&one, "CREATE TABLE t (a)").await.unwrap();
    assert!(run(&two, "SELECT a FROM t").await.is_err());
}

#[tokio::test]
async fn connections_to_a_file_share_it_and_its_data_stay() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("state/sqlite_db.db"));
    let database = Embedded::new(location.clone());
    assert!(!folder.path().join("state").exists());
    let one = database.connect().await.unwrap();
    run(&one, "CREATE TABLE t (a)").await.unwrap();
    run(&one, "INSERT INTO t VALUES (7)").await.unwrap();
    drop(one);
    let two = database.connect().await.unwrap();
    assert_eq!(run(&two, "SELECT a FROM t").await.unwrap().rows, [[Value::Integer(7)]]);
    drop((two, database));
    let three = Embedded::new(location).connect().await.unwrap();
    assert_eq!(run(&three, "SELECT a FROM t").await.unwrap().rows, [[Value::Integer(7)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_between_connections() {
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(Embedded::new(Location::File(folder.path().join("x.db"))));
    let first = database.connect().await.unwrap();
    run(&first, "CREATE TABLE t (n)").await.unwrap();
    run(&first, "INSERT INTO t VALUES (0)").await.unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let database = Arc::clone(&database);
            tokio::spawn(async move {
                let connection = database.connect().await.unwrap();
                for _ in 0..10 {
                    run(&connection, "UPDATE t SET n = n + 1").await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(run(&first, "SELECT n FROM t").await.unwrap().rows, [[Value::Integer(40)]]);
}

#[tokio::test]
async fn statements_that_would_open_other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    let connection = in_memory().await;
    run(&connection, "CREATE TABLE t (a)").await.unwrap();
    let path = other.display().to_string();
    for sql in [
        format!("ATTACH '{path}' AS o"),
        format!("ATTACH 'file:{path}' AS o"),
        format!("ATTACH '/' || '{path}' AS o"),
        format!("VACUUM INTO '{path}'"),
        format!("VACUUM INTO '/' || '{path}'"),
    ] {
        let text = error(&connection, &sql).await;
        assert!(text.contains("authoriz"), "{sql}: {text}");
    }
    let bound = connection
        .execute("ATTACH ? AS o".to_owned(), vec![Value::Text(path.clone())])
        .await
        .unwrap_err();
    assert!(bound.to_string().contains("not authorized"), "{bound}");
    assert!(!other.exists());
    let loaded = error(&connection, &format!("SELECT load_extension('{path}')")).await;
    assert!(loaded.contains("load_extension") || loaded.contains("not authorized"), "{loaded}");
}

#[tokio::test]
async fn other_files_can_be_attached_where_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    let location = Location::File(folder.path().join("x.db"));
    let database = Embedded::new(location).with_attached_files();
    let connection = database.connect().await.unwrap();
    let attach = format!("ATTACH '{}' AS o", other.display());
    for statement in [attach.as_str(), "CREATE TABLE o.t (x)"] {
        connection.execute(statement.to_owned(), Vec::new()).await.unwrap();
    }
    assert!(other.is_file());
    let pragma = "PRAGMA mmap_size = 1000000".to_owned();
    assert!(connection.execute(pragma, Vec::new()).await.is_err());
}

#[tokio::test]
async fn private_databases_can_be_attached_and_a_database_can_be_vacuumed() {
    let connection = in_memory().await;
    for sql in ["ATTACH ':memory:' AS m", "ATTACH '' AS e", "CREATE TABLE m.t (a)", "VACUUM"] {
        run(&connection, sql).await.unwrap();
    }
}

#[tokio::test]
async fn pragmas_of_the_whole_process_are_refused_and_others_work() {
    let connection = in_memory().await;
    for sql in [
        "PRAGMA hard_heap_limit = 1",
        "PRAGMA soft_heap_limit = 1",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA Mmap_Size = 1000000",
    ] {
        let text = error(&connection, sql).await;
        assert!(text.contains("authoriz"), "{sql}: {text}");
    }
    run(&connection, "PRAGMA foreign_keys = ON").await.unwrap();
    let result = run(&connection, "PRAGMA foreign_keys").await.unwrap();
    assert_eq!(result.rows, [[Value::Integer(1)]]);
}

#[tokio::test]
async fn the_schema_cannot_be_written_as_a_table() {
    let connection = in_memory().await;
    run(&connection, "CREATE TABLE t (a)").await.unwrap();
    run(&connection, "PRAGMA writable_schema = ON").await.unwrap();
    let text = error(&connection, "UPDATE sqlite_master SET sql = 'x'").await;
    assert!(text.contains("may not be modified"), "{text}");
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_interrupted() {
    let connection = in_memory().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT count(*) FROM n";
    let call = run(&connection, endless);
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    // The connection is free again soon, and nothing interrupts what comes next.
    let started = Instant::now();
    run(&connection, "SELECT 1").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
}
