//! What the standard output of a container begins with, as that of Spin.

use std::fmt::Write as _;

/// Addresses and HTTP routes; nothing for other triggers.
pub(super) fn banner(addresses: &[String], routes: &[(String, String)]) -> String {
    let mut text = String::new();
    let Some(first) = addresses.first() else { return text };
    for address in addresses {
        let _ = writeln!(text, "Serving http://{address}");
    }
    let mut heading = "Available Routes:\n";
    for (component, route) in routes.iter().filter(|(_, route)| route.starts_with('/')) {
        let route = match route.strip_prefix('/') {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest,
            _ => route,
        };
        let _ = writeln!(text, "{heading}  {component}: http://{first}{route}");
        heading = "";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_begins_with_where_its_app_is() {
        let route = |component: &str, route: &str| (component.to_owned(), route.to_owned());
        let routes = [
            route("all", "/ (wildcard)"),
            route("one", "/one/:id"),
            route("bus", "Redis channel x on h:6379"),
        ];
        let address = ["0.0.0.0:80".to_owned()];
        assert_eq!(
            banner(&address, &routes),
            "Serving http://0.0.0.0:80\nAvailable Routes:\n  all: http://0.0.0.0:80 (wildcard)\n  \
             one: http://0.0.0.0:80/one/:id\n"
        );
        assert_eq!(banner(&[], &routes), "");
    }
}
