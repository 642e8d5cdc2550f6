//! Uses servers as the lines of a request's body say: the address first. Over
//! `spin:redis@3.0.0`, `spin:postgres@4.2.0`, `spin:mysql@3.0.0` and
//! `spin:mqtt@3.0.0`, which are async.

use http_body_util::BodyExt as _;
use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_service;
use spin_sdk::redis::RedisParameter;
use spin_sdk::{mqtt, mysql, pg, redis};

#[http_service]
async fn handle(request: Request) -> spin_sdk::http::Result<impl IntoResponse> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let lines: Vec<&str> = body.lines().collect();
    let result = match &*path {
        "/redis" => use_redis(&lines).await,
        "/postgres" => use_postgres(&lines).await,
        "/mysql" => use_mysql(&lines).await,
        "/mqtt" => use_mqtt(&lines).await,
        other => Err(format!("no such behaviour: {other}")),
    };
    let (status, text) = match result {
        Ok(text) => (200, text),
        Err(text) => (500, text),
    };
    Ok(Response::builder().status(status).body(text).expect("a valid response"))
}

/// The line with this number; empty if there is none.
fn line<'a>(lines: &[&'a str], number: usize) -> &'a str {
    lines.get(number).copied().unwrap_or_default()
}

fn rest(lines: &[&str], from: usize) -> Vec<String> {
    lines.iter().skip(from).map(|line| (*line).to_owned()).collect()
}

fn said(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// Lines: address, function, its arguments.
async fn use_redis(lines: &[&str]) -> Result<String, String> {
    let connection = redis::Connection::open(line(lines, 0)).await.map_err(said)?;
    let (key, value) = (line(lines, 2), line(lines, 3));
    match line(lines, 1) {
        "get" => connection.get(key).await.map(|value| match value {
            Some(value) => String::from_utf8_lossy(&value).into_owned(),
            None => "none".to_owned(),
        }),
        "set" => connection.set(key, value).await.map(|()| "set".to_owned()),
        "publish" => connection.publish(key, value).await.map(|()| "sent".to_owned()),
        "incr" => connection.incr(key).await.map(|number| number.to_string()),
        "del" => connection.del(rest(lines, 2)).await.map(|number| number.to_string()),
        "sadd" => connection.sadd(key, rest(lines, 3)).await.map(|number| number.to_string()),
        "srem" => connection.srem(key, rest(lines, 3)).await.map(|number| number.to_string()),
        "smembers" => connection.smembers(key).await.map(|members| members.join(",")),
        "execute" => {
            let arguments: Vec<RedisParameter> = lines
                .iter()
                .skip(3)
                .map(|line| RedisParameter::Binary(line.as_bytes().to_vec()))
                .collect();
            connection.execute(key, arguments).await.map(|replies| format!("{replies:?}"))
        }
        "open-many" => {
            let mut open = Vec::new();
            for _ in 0..key.parse().unwrap_or(0) {
                open.push(redis::Connection::open(line(lines, 0)).await.map_err(said)?);
            }
            Ok(open.len().to_string())
        }
        other => return Err(format!("no such function: {other}")),
    }
    .map_err(said)
}

/// Lines: address, statement, parameters that are texts. `?` before the
/// statement: it returns rows.
async fn use_postgres(lines: &[&str]) -> Result<String, String> {
    let connection = pg::Connection::open(line(lines, 0)).await.map_err(said)?;
    let parameters: Vec<_> = rest(lines, 2).into_iter().map(pg::ParameterValue::Str).collect();
    match line(lines, 1).strip_prefix('?') {
        Some(query) => {
            let mut result = connection.query(query, parameters).await.map_err(said)?;
            let mut text = format!("{:?}\n", result.columns());
            while let Some(row) = result.rows().next().await {
                text += &format!("{row:?}\n");
            }
            result.result().await.map_err(said)?;
            Ok(text)
        }
        None => {
            let changed = connection.execute(line(lines, 1), parameters).await.map_err(said)?;
            Ok(changed.to_string())
        }
    }
}

async fn use_mysql(lines: &[&str]) -> Result<String, String> {
    let connection = mysql::Connection::open(line(lines, 0)).await.map_err(said)?;
    let parameters: Vec<_> = rest(lines, 2).into_iter().map(mysql::ParameterValue::Str).collect();
    match line(lines, 1).strip_prefix('?') {
        Some(query) => {
            let mut result = connection.query(query, parameters).await.map_err(said)?;
            let mut text = format!("{:?}\n", result.columns());
            while let Some(row) = result.rows().next().await {
                text += &format!("{row:?}\n");
            }
            result.result().await.map_err(said)?;
            Ok(text)
        }
        None => {
            connection.execute(line(lines, 1), parameters).await.map_err(said)?;
            Ok("done".to_owned())
        }
    }
}

/// Lines: address, user, password, topic, payload, quality of service.
async fn use_mqtt(lines: &[&str]) -> Result<String, String> {
    let connection =
        mqtt::Connection::open(line(lines, 0), line(lines, 1), line(lines, 2), 30).await;
    let quality = match line(lines, 5) {
        "0" => mqtt::Qos::AtMostOnce,
        "1" => mqtt::Qos::AtLeastOnce,
        _ => mqtt::Qos::ExactlyOnce,
    };
    let payload = line(lines, 4).as_bytes().to_vec();
    connection.map_err(said)?.publish(line(lines, 3), payload, quality).await.map_err(said)?;
    Ok("published".to_owned())
}
