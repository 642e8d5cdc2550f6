//! Uses servers as the lines of a request's body say: the address first. Over
//! `fermyon:spin@2.0.0` and `spin:postgres@3.0.0`.

use spin_sdk::http::{Request, Response};
use spin_sdk::http_component;
use spin_sdk::redis::RedisParameter;
use spin_sdk::{mqtt, mysql, pg, pg3, redis};

#[http_component]
fn handle(request: Request) -> Response {
    let body = String::from_utf8_lossy(request.body()).into_owned();
    let lines: Vec<&str> = body.lines().collect();
    let result = match request.path() {
        "/redis" => use_redis(&lines),
        "/postgres" => use_postgres(&lines),
        "/postgres-3" => use_postgres_3(&lines),
        "/mysql" => use_mysql(&lines),
        "/mqtt" => use_mqtt(&lines),
        other => Err(format!("no such behaviour: {other}")),
    };
    let (status, text) = match result {
        Ok(text) => (200, text),
        Err(text) => (500, text),
    };
    Response::new(status, text)
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
fn use_redis(lines: &[&str]) -> Result<String, String> {
    let connection = redis::Connection::open(line(lines, 0)).map_err(said)?;
    let (key, value) = (line(lines, 2), line(lines, 3));
    match line(lines, 1) {
        "get" => connection.get(key).map(|value| match value {
            Some(value) => String::from_utf8_lossy(&value).into_owned(),
            None => "none".to_owned(),
        }),
        "set" => connection.set(key, &value.as_bytes().to_vec()).map(|()| "set".to_owned()),
        "publish" => connection.publish(key, &value.as_bytes().to_vec()).map(|()| "sent".to_owned()),
        "incr" => connection.incr(key).map(|number| number.to_string()),
        "del" => connection.del(&rest(lines, 2)).map(|number| number.to_string()),
        "sadd" => connection.sadd(key, &rest(lines, 3)).map(|number| number.to_string()),
        "srem" => connection.srem(key, &rest(lines, 3)).map(|number| number.to_string()),
        "smembers" => connection.smembers(key).map(|members| members.join(",")),
        "execute" => {
            let arguments: Vec<RedisParameter> = lines
                .iter()
                .skip(3)
                .map(|line| RedisParameter::Binary(line.as_bytes().to_vec()))
                .collect();
            connection.execute(key, &arguments).map(|replies| format!("{replies:?}"))
        }
        "open-many" => {
            let mut open = Vec::new();
            for _ in 0..key.parse().unwrap_or(0) {
                open.push(redis::Connection::open(line(lines, 0)).map_err(said)?);
            }
            Ok(open.len().to_string())
        }
        other => return Err(format!("no such function: {other}")),
    }
    .map_err(said)
}

/// Lines: address, statement, parameters that are texts. `?` before the
/// statement: it returns rows.
fn use_postgres(lines: &[&str]) -> Result<String, String> {
    let connection = pg::Connection::open(line(lines, 0)).map_err(said)?;
    let parameters: Vec<_> = rest(lines, 2).into_iter().map(pg::ParameterValue::Str).collect();
    match line(lines, 1).strip_prefix('?') {
        Some(query) => {
            let set = connection.query(query, &parameters).map_err(said)?;
            Ok(format!("{:?}\n{:?}", set.columns, set.rows))
        }
        None => {
            let changed = connection.execute(line(lines, 1), &parameters).map_err(said)?;
            Ok(changed.to_string())
        }
    }
}

fn use_postgres_3(lines: &[&str]) -> Result<String, String> {
    let connection = pg3::Connection::open(line(lines, 0)).map_err(said)?;
    let parameters: Vec<_> = rest(lines, 2).into_iter().map(pg3::ParameterValue::Str).collect();
    match line(lines, 1).strip_prefix('?') {
        Some(query) => {
            let set = connection.query(query, &parameters).map_err(said)?;
            Ok(format!("{:?}\n{:?}", set.columns, set.rows))
        }
        None => {
            let changed = connection.execute(line(lines, 1), &parameters).map_err(said)?;
            Ok(changed.to_string())
        }
    }
}

fn use_mysql(lines: &[&str]) -> Result<String, String> {
    let connection = mysql::Connection::open(line(lines, 0)).map_err(said)?;
    let parameters: Vec<_> = rest(lines, 2).into_iter().map(mysql::ParameterValue::Str).collect();
    match line(lines, 1).strip_prefix('?') {
        Some(query) => {
            let set = connection.query(query, &parameters).map_err(said)?;
            Ok(format!("{:?}\n{:?}", set.columns, set.rows))
        }
        None => {
            connection.execute(line(lines, 1), &parameters).map_err(said)?;
            Ok("done".to_owned())
        }
    }
}

/// Lines: address, user, password, topic, payload, quality of service.
fn use_mqtt(lines: &[&str]) -> Result<String, String> {
    let connection = mqtt::Connection::open(line(lines, 0), line(lines, 1), line(lines, 2), 30);
    let quality = match line(lines, 5) {
        "0" => mqtt::Qos::AtMostOnce,
        "1" => mqtt::Qos::AtLeastOnce,
        _ => mqtt::Qos::ExactlyOnce,
    };
    let payload = line(lines, 4).as_bytes().to_vec();
    connection.map_err(said)?.publish(line(lines, 3), &payload, quality).map_err(said)?;
    Ok("published".to_owned())
}
