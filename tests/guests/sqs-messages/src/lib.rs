//! Prints every message with its attributes; the messages `sleep MS`, `leave`,
//! `fail` and `panic` are done first.

use std::time::Duration;

wit_bindgen::generate!({
    inline: r#"
        package test:queue;

        world queue {
            use fermyon:spin-sqs/sqs-types@2.0.0.{message, message-action, error};
            export handle-queue-message: func(message: message) -> result<message-action, error>;
        }

        package fermyon:spin-sqs@2.0.0 {
            interface sqs-types {
                variant message-attribute-value {
                    str(string),
                    binary(list<u8>),
                }

                record message-attribute {
                    name: string,
                    data-type: option<string>,
                    value: message-attribute-value,
                }

                record message {
                    id: option<string>,
                    message-attributes: list<message-attribute>,
                    body: option<string>,
                }

                variant error { other(string) }

                enum message-action { delete, leave }
            }
        }
    "#,
    generate_all,
});

struct Queue;

export!(Queue);

impl Guest for Queue {
    fn handle_queue_message(message: Message) -> Result<MessageAction, Error> {
        let body = message.body.unwrap_or_default();
        let mut action = MessageAction::Delete;
        match body.split_once(' ') {
            Some(("sleep", milliseconds)) => {
                println!("asleep");
                std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap()));
            }
            _ if body == "leave" => action = MessageAction::Leave,
            _ if body == "fail" => return Err(Error::Other("asked to fail".into())),
            _ if body == "panic" => panic!("asked to panic"),
            _ => {}
        }
        for attribute in message.message_attributes {
            println!("{} is {:?} {:?}.", attribute.name, attribute.data_type, attribute.value);
        }
        println!("handled {body}.");
        Ok(action)
    }
}
