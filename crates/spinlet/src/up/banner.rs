//! What is printed when the app serves.

use std::fmt::Write;

use crate::console::Console;

/// Addresses and routes, ready to be clicked.
pub(super) fn banner(
    addresses: &[String],
    routes: &[(String, String)],
    console: &Console,
) -> String {
    let mut text = String::new();
    for address in addresses {
        let _ = writeln!(text, "{}", console.bold(&format!("Serving http://{address}")));
    }
    let base = addresses.first().map_or("", String::as_str);
    let (paths, others): (Vec<_>, Vec<_>) =
        routes.iter().partition(|(_, route)| route.starts_with('/'));
    list(&mut text, "\nAvailable Routes:\n", &paths, |path| url(base, path));
    list(&mut text, "\nOther Triggers:\n", &others, str::to_owned);
    text
}

/// Components and what leads to them, below a heading; nothing for none.
fn list(
    text: &mut String,
    heading: &str,
    routes: &[&(String, String)],
    shown: impl Fn(&str) -> String,
) {
    let Some(width) = routes.iter().map(|(component, _)| component.len() + 1).max() else { return };
    text.push_str(heading);
    for (component, route) in routes {
        let _ = writeln!(text, "  {:width$} {}", format!("{component}:"), shown(route));
    }
}

fn url(base: &str, route: &str) -> String {
    match route.strip_suffix("/...").or_else(|| route.strip_suffix("/*")) {
        Some(prefix) => format!("http://{base}{prefix} (wildcard)"),
        None => format!("http://{base}{}", route.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::tests::silent;

    #[test]
    fn what_is_no_route_is_shown_as_it_is_and_a_program_alone_has_nothing() {
        let routes = [("a".to_owned(), "Redis channel x on h:6379".to_owned())];
        let text = banner(&[], &routes, &silent());
        assert_eq!(text, "\nOther Triggers:\n  a: Redis channel x on h:6379\n");
        assert_eq!(banner(&[], &[], &silent()), "");
    }

    #[test]
    fn routes_are_shown_as_urls() {
        let routes =
            [("a".to_owned(), "/...".to_owned()), ("long".to_owned(), "/x/:id".to_owned())];
        let text = banner(&["127.0.0.1:3000".to_owned()], &routes, &silent());
        assert_eq!(
            text,
            "Serving http://127.0.0.1:3000\n\nAvailable Routes:\n  \
             a:    http://127.0.0.1:3000 (wildcard)\n  \
             long: http://127.0.0.1:3000/x/:id\n"
        );
    }
}
