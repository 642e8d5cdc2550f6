//! A component that others depend on: it greets, and tells what it can see.

wit_bindgen::generate!({
    inline: "
        package acme:greeter@1.0.0;

        interface greeting {
            greet: func(name: string) -> string;
        }

        world greeter {
            export greeting;
        }
    ",
});

struct Greeter;

impl exports::acme::greeter::greeting::Guest for Greeter {
    fn greet(name: String) -> String {
        let variables = std::env::vars().count();
        let files = std::fs::read_dir("/data").is_ok();
        format!("Hello, {name}! variables: {variables}, files: {files}")
    }
}

export!(Greeter);
