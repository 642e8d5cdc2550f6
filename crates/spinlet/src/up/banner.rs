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
    if addresses.is_empty() {
        text.push_str("Serving, without a listener for HTTP\n");
    }
    if let Some(base) = addresses.first()
        && !routes.is_empty()
    {
        text.push_str("\nAvailable Routes:\n");
        let width = routes.iter().map(|(component, _)| component.len()).max().unwrap_or(0) + 1;
        for (component, route) in routes {
            let url = url(base, route);
            let _ = writeln!(text, "  {:width$} {url}", format!("{component}:"));
        }
    }
    text
}

fn url(base: &str, route: &str) -> String {
    match route.strip_suffix("/...").or_else(|| route.strip_suffix("/*")) {
        Some(prefix) => format!("http://{base}{prefix} (wildcard)"),
        None if route.starts_with('/') => format!("http://{base}{}", route.trim_end_matches('/')),
        // Not a path: a component that only others may call.
        None => route.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::tests::silent;

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
