//! Answers with its arguments, its environment and its input; `?redirect`,
//! `?status` and `?exit` do what they say.

use std::io::Read;

fn main() {
    match std::env::var("QUERY_STRING").unwrap_or_default().as_str() {
        "redirect" => return println!("Location: /elsewhere\n"),
        "status" => return println!("Status: 418 I'm a teapot\n"),
        "exit" => {
            println!("Content-Type: text/plain\n\ndone");
            std::process::exit(0);
        }
        "nothing" => return,
        _ => {}
    }
    println!("Content-Type: text/plain\n");
    println!("arguments: {:?}", std::env::args().collect::<Vec<_>>());
    for (name, value) in std::env::vars() {
        println!("{name}={value}");
    }
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    println!("input: {input}");
}
