//! Behaviour of a running server with guests of WASI 0.2 and 0.3.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use http_trigger::{BindError, InstanceReuse};
use hyper::body::Frame;
use serde_json::json;
use trigger::{Ended, Replacements};

use support::{
    Captured, GUEST_0_2, GUEST_0_3, GUEST_SPIN, TestApp, other_0_2, other_0_3, request, whole,
};

mod support;

#[tokio::test]
async fn a_guest_answers_without_extra_headers() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let answer = server.get("/hello").await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
    let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date"]);
    assert_eq!(answer.headers["content-length"], "5");
}

#[tokio::test]
async fn bodies_are_streamed_in_both_directions_at_once() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let mut sender = server.connect().await;
    let (pieces, body) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let body = futures::stream::unfold(body, |mut body| async move {
        let piece = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(piece)), body))
    });
    let request = Request::post("/echo").header("host", "a.test").body(StreamBody::new(body));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut echoed = response.into_body();
    for piece in ["one", "two", "three"] {
        pieces.send(Bytes::from(piece)).unwrap();
        let frame = echoed.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    let large = Bytes::from(vec![7; 1 << 20]);
    pieces.send(large.clone()).unwrap();
    drop(pieces);
    assert_eq!(echoed.collect().await.unwrap().to_bytes(), large);
}

#[tokio::test]
async fn a_request_in_flight_keeps_its_code_and_later_ones_get_what_took_its_place() {
    let replacements = Arc::<Replacements>::default();
    let mut app = TestApp::of(&GUEST_0_2);
    app.replacements = Some(Arc::clone(&replacements));
    let server = app.start().await;
    assert_eq!(&server.get("/hello").await.body[..], b"hello");
    let mut sender = server.connect().await;
    let (pieces, body) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let body = futures::stream::unfold(body, |mut body| async move {
        let piece = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(piece)), body))
    });
    let request = Request::post("/echo").header("host", "a.test").body(StreamBody::new(body));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(replacements.replace("guest", &other_0_2()), Ok(1));
    assert_eq!(&server.get("/hello").await.body[..], b"hallo");
    pieces.send(Bytes::from_static(b"still here")).unwrap();
    drop(pieces);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_code_of_reused_instances_is_replaced() {
    let replacements = Arc::<Replacements>::default();
    let mut app = TestApp::of(&GUEST_0_3);
    app.replacements = Some(Arc::clone(&replacements));
    let server = Arc::new(app.start().await);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let mut before = 0;
                loop {
                    let status = server.get("/count").await.status.as_u16();
                    match status {
                        201..=399 => before += 1,
                        401..=499 => return before,
                        _ => panic!("{status} after {before} answers"),
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(replacements.replace("guest", &other_0_3()), Ok(1));
    for client in clients {
        let before = tokio::time::timeout(Duration::from_secs(10), client).await.unwrap().unwrap();
        assert!(before > 0, "no answer of the first code");
    }
}

#[tokio::test]
async fn a_guest_that_fails_before_its_response_is_answered_with_500() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    for path in ["/trap", "/nothing"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(answer.body.is_empty());
        assert_eq!(answer.headers["content-length"], "0");
    }
    assert_eq!(server.get("/hello").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_guest_that_fails_after_its_response_breaks_it_off() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let mut sender = server.connect().await;
    // Whether the head was sent before the guest failed is a matter of luck.
    if let Ok(response) = sender.send_request(request("/zero")).await {
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.into_body().collect().await.is_err());
    }
    assert_eq!(server.get("/hello").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_last_line_of_a_guest_that_traps_is_not_lost() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    assert_eq!(server.get("/print").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    server.shutdown.drain(Duration::from_secs(5));
    assert_eq!(server.serving.await.unwrap(), Ended::Drained);
    assert_eq!(server.captured.text(), "last words\n");
}

#[tokio::test]
async fn an_instance_gets_no_more_memory_than_it_may_have() {
    let mut app = TestApp::of(&GUEST_0_2);
    app.max_instance_memory = Some(64 << 20);
    let server = app.start().await;
    assert_eq!(server.get("/memory").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(server.get("/hello").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn guests_that_compute_without_end_do_not_keep_health_and_others_waiting() {
    for guest in [&*GUEST_0_2, &*GUEST_0_3] {
        let server = TestApp::of(guest).start().await;
        let mut loops = Vec::new();
        for _ in 0..4 {
            let mut sender = server.connect().await;
            loops.push(tokio::spawn(async move {
                let _ = sender.send_request(request("/loop")).await;
            }));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for path in ["/.well-known/spin/health", "/count-or-hello"] {
            let started = Instant::now();
            let status = server.get(path.replace("count-or-hello", "count").as_str()).await.status;
            // The 0.2 guest knows no such path and traps, which is an answer too.
            assert!(status.is_success() || status == StatusCode::INTERNAL_SERVER_ERROR, "{status}");
            let took = started.elapsed();
            assert!(took < Duration::from_secs(1), "{path} took {took:?}");
        }
        loops.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn a_guest_over_its_time_is_stopped_and_answered_with_504() {
    for guest in [&*GUEST_0_2, &*GUEST_0_3] {
        let server = TestApp::of(guest)
            .settings(|settings| {
                settings.request_timeout = Some(Duration::from_millis(200));
                settings.max_requests = 1;
            })
            .start()
            .await;
        assert_eq!(server.get("/loop").await.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(server.get("/trap").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        server.shutdown.drain(Duration::from_secs(5));
        assert_eq!(server.serving.await.unwrap(), Ended::Drained);
    }
}

#[tokio::test]
async fn a_guest_ends_when_its_client_goes_away() {
    for (guest, path) in [(&*GUEST_0_2, "/loop"), (&*GUEST_0_2, "/stream"), (&*GUEST_0_3, "/loop")]
    {
        let server =
            TestApp::of(guest).settings(|settings| settings.max_requests = 1).start().await;
        let mut sender = server.connect().await;
        let sent = tokio::spawn(async move {
            let response = sender.send_request(request(path)).await;
            // The response is kept and not read.
            tokio::time::sleep(Duration::from_mins(1)).await;
            drop((response, sender));
        });
        let full = server.get_until("/x", StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(full.headers["retry-after"], "1");
        sent.abort();
        let free = server.get_until("/trap", StatusCode::INTERNAL_SERVER_ERROR).await;
        assert_eq!(free.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        server.shutdown.drain(Duration::from_secs(5));
        assert_eq!(server.serving.await.unwrap(), Ended::Drained, "{path}");
    }
}

#[tokio::test]
async fn draining_finishes_requests_in_flight_and_closes_the_rest() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let mut idle = server.connect::<Empty<Bytes>>().await;
    assert_eq!(whole(idle.send_request(request("/hello")).await.unwrap()).await.body, "hello");
    let mut sender = server.connect().await;
    let (pieces, body) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let body = futures::stream::unfold(body, |mut body| async move {
        let piece = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(piece)), body))
    });
    let post = Request::post("/echo").header("host", "a.test").body(StreamBody::new(body));
    let response = sender.send_request(post.unwrap()).await.unwrap();
    server.shutdown.drain(Duration::from_secs(10));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
    assert!(idle.is_closed());
    assert!(!server.serving.is_finished());
    pieces.send(Bytes::from("late")).unwrap();
    drop(pieces);
    assert_eq!(whole(response).await.body, "late");
    assert_eq!(server.serving.await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn draining_ends_at_its_deadline_and_a_cut_ends_it_at_once() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let mut sender = server.connect().await;
    let cut = tokio::spawn(async move { sender.send_request(request("/loop")).await.is_err() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.drain(Duration::from_millis(100));
    assert_eq!(server.serving.await.unwrap(), Ended::Cut);
    assert!(cut.await.unwrap());

    let server = TestApp::of(&GUEST_0_2).start().await;
    let mut sender = server.connect().await;
    let cut = tokio::spawn(async move { sender.send_request(request("/loop")).await.is_err() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.drain(Duration::from_mins(10));
    server.shutdown.cut();
    let started = Instant::now();
    assert_eq!(server.serving.await.unwrap(), Ended::Cut);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(cut.await.unwrap());
}

#[tokio::test]
async fn health_fails_while_new_connections_are_still_accepted_for_a_while() {
    let server = TestApp::of(&GUEST_0_2)
        .settings(|settings| settings.drain_delay = Duration::from_mins(1))
        .start()
        .await;
    assert_eq!(server.get("/.well-known/spin/health").await.status, StatusCode::OK);
    server.shutdown.drain(Duration::from_mins(10));
    let health =
        server.get_until("/.well-known/spin/health", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.get("/hello").await.status, StatusCode::OK);
    server.shutdown.cut();
    server.serving.await.unwrap();
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let mut sender = server.connect_http2().await;
    let uri = format!("http://{}/hello", server.address);
    let requests = (0..10).map(|_| {
        let request = Request::builder().uri(&uri).body(Empty::new()).unwrap();
        sender.send_request(request)
    });
    for response in futures::future::join_all(requests).await {
        assert_eq!(whole(response.unwrap()).await.body, "hello");
    }
}

#[tokio::test]
async fn at_the_connection_limit_the_longest_idle_one_makes_room() {
    let server =
        TestApp::of(&GUEST_0_2).settings(|settings| settings.max_connections = 2).start().await;
    let mut first = server.connect::<Empty<Bytes>>().await;
    assert_eq!(whole(first.send_request(request("/hello")).await.unwrap()).await.body, "hello");
    let mut busy = server.connect::<Empty<Bytes>>().await;
    let busy = tokio::spawn(async move { busy.send_request(request("/loop")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.get("/hello").await.body, "hello");
    assert!(first.is_closed());
    assert!(!busy.is_finished());
    busy.abort();
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let server = TestApp::of(&GUEST_0_2)
        .settings(|settings| {
            settings.header_timeout = Duration::from_millis(200);
            settings.idle_timeout = Duration::from_millis(400);
        })
        .start()
        .await;
    let started = Instant::now();
    assert_eq!(server.raw(b"GET /hello HT").await, "");
    assert!(started.elapsed() < Duration::from_millis(390), "{:?}", started.elapsed());
    let answer = server.raw(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.contains("hello"), "{answer}");
    assert_eq!(server.raw(b"").await, "");
}

#[tokio::test]
async fn requests_that_http_forbids_are_refused() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    for (request, expected) in [
        ("GET /hello HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), "400"),
        ("GET http://b/hello HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "400"),
        ("GET /hello HTTP/1.1\r\nhost: guest.spin.internal\r\n\r\n".to_owned(), "400"),
        (format!("GET /hello HTTP/1.1\r\nhost: a\r\n{many}\r\n"), "431"),
        (
            format!(
                "GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
                "x".repeat(100_000)
            ),
            "4",
        ),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n".to_owned(), "405"),
        (
            "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_owned(),
            "400",
        ),
    ] {
        let answer = server.raw(request.as_bytes()).await;
        let start = format!("HTTP/1.1 {expected}");
        assert!(answer.starts_with(&start), "{request:.60}: {answer}");
    }
    assert_eq!(server.get("/hello").await.status, StatusCode::OK);
}

#[tokio::test]
async fn routes_static_responses_and_well_known_paths_are_answered() {
    let mut app = TestApp::of(&GUEST_0_2);
    app.triggers = vec![
        json!({"component": "guest", "route": "/guest/..."}),
        json!({"route": "/teapot", "static_response": {
            "status_code": 418, "headers": {"x-a": "b"}, "body": "tea"
        }}),
        json!({"component": "guest", "route": {"private": true}}),
    ];
    let server = app.start().await;
    let teapot = server.get("/teapot").await;
    assert_eq!((teapot.status, &teapot.body[..]), (StatusCode::IM_A_TEAPOT, &b"tea"[..]));
    assert_eq!(teapot.headers["x-a"], "b");
    let nowhere = server.get("/nowhere").await;
    assert_eq!((nowhere.status, nowhere.body.len()), (StatusCode::NOT_FOUND, 0));
    let info = server.get("/.well-known/spin/info").await;
    assert_eq!(info.headers["content-type"], "application/json");
    let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
    assert_eq!(info, json!({"name": "test", "version": "1.2.3"}));
    let other = server.get("/.well-known/spin/other").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let health = server.raw(b"GET /.well-known/spin/health HTTP/1.0\r\n\r\n").await;
    assert!(health.ends_with("\r\n\r\nOK"), "{health}");
}

#[tokio::test]
async fn components_reach_each_other_and_the_app_when_they_may() {
    let mut app = TestApp::of(&GUEST_0_2);
    app.triggers = vec![
        json!({"component": "guest", "route": "/..."}),
        json!({"component": "private", "route": {"private": true}}),
        json!({"component": "denied", "route": "/denied/..."}),
    ];
    let hosts = vec!["http://private.spin.internal", "http://self"];
    app.components = vec![
        ("guest", &GUEST_0_2, hosts),
        ("private", &GUEST_0_2, vec![]),
        ("denied", &GUEST_0_2, vec![]),
    ];
    let server = app.start().await;
    assert_eq!(server.get("/qprivate.spin.internal").await.status, StatusCode::OK);
    assert_eq!(server.get("/qself.alt").await.status, StatusCode::OK);
    assert_eq!(server.get("/qdenied.spin.internal").await.status.as_u16(), 599);
    let outside = format!("/q{}", server.address);
    assert_eq!(server.get(&outside).await.status.as_u16(), 599);
}

#[tokio::test]
async fn outbound_requests_go_where_allowed_outbound_hosts_says() {
    let target = TestApp::of(&GUEST_0_2).start().await;
    let mut app = TestApp::of(&GUEST_0_2);
    app.components = vec![("guest", &GUEST_0_2, vec!["http://127.0.0.1:*"])];
    let server = app.start().await;
    for _ in 0..2 {
        assert_eq!(server.get(&format!("/q{}", target.address)).await.status, StatusCode::OK);
    }
    assert_eq!(server.get("/q127.0.0.2:1").await.status.as_u16(), 599);
    // Nobody listens there.
    assert_eq!(server.get("/q127.0.0.1:1").await.status.as_u16(), 599);
}

#[tokio::test]
async fn instances_of_0_3_are_reused_within_their_bounds() {
    let reuse = InstanceReuse { max_uses: 2, ..InstanceReuse::default() };
    let server = TestApp::of(&GUEST_0_3).settings(|settings| settings.reuse = reuse).start().await;
    for expected in [201, 202, 201, 202] {
        assert_eq!(server.get("/count").await.status.as_u16(), expected);
    }
    assert_eq!(server.get("/count").await.status.as_u16(), 201);
    assert_eq!(server.get("/trap").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(server.get("/count").await.status.as_u16(), 201);
}

#[tokio::test]
async fn idle_instances_of_0_3_end() {
    let reuse = InstanceReuse { idle: Duration::from_millis(50), ..InstanceReuse::default() };
    let server = TestApp::of(&GUEST_0_3).settings(|settings| settings.reuse = reuse).start().await;
    assert_eq!(server.get("/count").await.status.as_u16(), 201);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.get("/count").await.status.as_u16(), 201);
    server.shutdown.drain(Duration::from_secs(5));
    assert_eq!(server.serving.await.unwrap(), Ended::Drained);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_instances_wait_for_their_turn() {
    for (guest, path) in [(&*GUEST_0_2, "/hello"), (&*GUEST_0_3, "/count")] {
        let server =
            TestApp::of(guest).settings(|settings| settings.max_instances = 4).start().await;
        let answers = futures::future::join_all((0..200).map(|_| server.get(path))).await;
        // The 0.3 guest counts up to the most uses of an instance.
        let answered = 200..=200 + InstanceReuse::default().max_uses as u16;
        let failed: Vec<_> =
            answers.iter().filter(|answer| !answered.contains(&answer.status.as_u16())).collect();
        assert!(failed.is_empty(), "{path}: {failed:?}");
        server.shutdown.drain(Duration::from_secs(5));
        assert_eq!(server.serving.await.unwrap(), Ended::Drained);
    }
}

#[tokio::test]
async fn guests_of_spin_1_get_whole_bodies_and_read_variables() {
    let server = TestApp::of(&GUEST_SPIN).start().await;
    for path in ["/cgreeting", "/vgreeting", "/wgreeting"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello world"[..]));
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(answer.headers["content-length"], "11");
    }
    for (path, expected) in
        [("/cwho", "\"who\""), ("/vwho", "\"who\""), ("/vWho", "Who"), ("/wwho", "")]
    {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains(expected), "{path}: {text}");
    }
    let mut sender = server.connect().await;
    let post = Request::post("/").header("host", "a.test").body("x".repeat(9000)).unwrap();
    assert_eq!(whole(sender.send_request(post).await.unwrap()).await.body.len(), 9000);
    let mut sender = server.connect().await;
    let strange = Request::builder().method("BREW").uri("/").header("host", "a.test");
    let strange = strange.body(Empty::<Bytes>::new()).unwrap();
    let answer = whole(sender.send_request(strange).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn each_request_is_logged_once_and_only_if_wanted() {
    let log = Captured::default();
    let writer = log.clone();
    tracing_subscriber::fmt().json().with_writer(move || writer.clone()).init();
    let server = TestApp::of(&GUEST_0_2).start().await;
    server.get("/hello/logged?secret=1").await;
    server.get("/.well-known/spin/health").await;
    let quiet = TestApp::of(&GUEST_0_2).settings(|settings| settings.access_log = false);
    quiet.start().await.get("/hello/quiet").await;
    let text = log.text();
    // Other tests run in the same process and log, too.
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["target"] == http_trigger::ACCESS_TARGET)
        .filter(|line| line["fields"]["path"].as_str().unwrap().ends_with("logged"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let fields = &lines[0]["fields"];
    for (name, expected) in [
        ("method", json!("GET")),
        ("path", json!("/hello/logged")),
        ("status", json!(200)),
        ("bytes", json!(5)),
        ("complete", json!(true)),
        ("route", json!("/...")),
        ("component", json!("guest")),
    ] {
        assert_eq!(fields[name], expected, "{name}");
    }
    assert!(!text.contains("secret") && !text.contains("quiet") && !text.contains("well-known"));
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_so() {
    let server = TestApp::of(&GUEST_0_2).start().await;
    let (app, _) = TestApp::of(&GUEST_0_2).build().unwrap();
    let error = app.bind(&server.address.to_string()).await.err().unwrap();
    assert!(matches!(error, BindError::InUse { address } if address == server.address));
    assert!(error.to_string().contains("in use"), "{error}");
    let (app, _) = TestApp::of(&GUEST_0_2).build().unwrap();
    let error = app.bind("nonsense").await.err().unwrap();
    assert!(matches!(error, BindError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn everything_wrong_with_an_app_is_said_at_once() {
    let mut app = TestApp::of(&GUEST_0_2);
    app.triggers = vec![
        json!({"component": "guest", "route": "/a/*/b"}),
        json!({"component": "guest", "route": "/wagi", "executor": {"type": "wagi"}}),
        json!({"route": "/"}),
    ];
    let error = app.build().err().unwrap().to_string();
    for expected in ["/a/*/b", "wagi", "neither"] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
