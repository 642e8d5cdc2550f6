//! A report as people read it.

use std::fmt::Write;

use crate::console::{Console, bytes};

use super::report::{ComponentReport, Report, VariableReport};

/// Width of the names in front of values.
const NAMES: usize = 18;

/// The report as text: the app, then one block for each component.
pub(super) fn render(report: &Report, console: &Console) -> String {
    let mut page = Page { text: String::new(), console };
    page.app(report);
    for component in &report.components {
        page.component(report, component);
    }
    page.triggers_without_component(report);
    page.variables(report);
    page.text
}

struct Page<'a> {
    text: String,
    console: &'a Console,
}

impl Page<'_> {
    fn app(&mut self, report: &Report) {
        let name = if report.name.is_empty() { "(app without a name)" } else { &report.name };
        let version = report.version.as_deref().unwrap_or_default();
        self.title(format!("{name} {version}").trim_end());
        self.line("description", report.description.as_deref().unwrap_or_default());
        self.line("authors", &report.authors.join(", "));
        if let Some(image) = &report.image {
            self.line("image", image.reference.as_deref().unwrap_or_default());
            self.line("digest", &image.digest);
            let layers = if image.layers == 1 { "layer" } else { "layers" };
            let archives = if image.archives { ", files in archives" } else { "" };
            self.line(
                "size",
                &format!("{} in {} {layers}{archives}", bytes(image.bytes), image.layers),
            );
        }
    }

    fn component(&mut self, report: &Report, component: &ComponentReport) {
        self.text.push('\n');
        self.title(&format!("component {}", component.id));
        self.line("description", component.description.as_deref().unwrap_or_default());
        let mut used = false;
        for trigger in &report.triggers {
            if trigger.component.as_deref() == Some(&component.id) {
                used = true;
                let kind = if trigger.kind == "http" { "route" } else { &trigger.kind };
                self.line(kind, trigger.on.as_deref().unwrap_or("(trigger)"));
            }
        }
        if !used {
            self.line("trigger", "none: it is not loaded");
        }
        self.line("wasm", &component.bytes.map(bytes).unwrap_or_default());
        self.line("files", &files(component));
        self.line("outbound hosts", &component.allowed_outbound_hosts.join(", "));
        self.line("key-value stores", &component.key_value_stores.join(", "));
        self.line("sqlite databases", &component.sqlite_databases.join(", "));
        self.line("ai models", &component.ai_models.join(", "));
        let variables: Vec<_> =
            component.variables.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        self.line("variables", &variables.join(", "));
        self.line("environment", &component.environment.join(", "));
        self.line("dependencies", &component.dependencies.join(", "));
    }

    fn triggers_without_component(&mut self, report: &Report) {
        let mut triggers =
            report.triggers.iter().filter(|trigger| trigger.component.is_none()).peekable();
        if triggers.peek().is_some() {
            self.text.push('\n');
            self.title("without a component");
        }
        for trigger in triggers {
            let kind = if trigger.kind == "http" { "route" } else { &trigger.kind };
            self.line(kind, trigger.on.as_deref().unwrap_or("(trigger)"));
        }
    }

    fn variables(&mut self, report: &Report) {
        if report.variables.is_empty() {
            return;
        }
        self.text.push('\n');
        self.title("variables of the app");
        for (name, variable) in &report.variables {
            self.line(name, &value(variable));
        }
    }

    fn title(&mut self, text: &str) {
        let text = self.console.bold(&printable(text));
        let _ = writeln!(self.text, "{text}");
    }

    /// A line, unless there is nothing to say.
    fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let _ = writeln!(self.text, "  {:NAMES$} {}", printable(name), printable(value));
        }
    }
}

fn files(component: &ComponentReport) -> String {
    match (component.files.count, component.files.bytes) {
        (0, _) => String::new(),
        (count, Some(size)) => format!("{count} ({})", bytes(size)),
        (count, None) => count.to_string(),
    }
}

fn value(variable: &VariableReport) -> String {
    let mut parts = Vec::new();
    if variable.required {
        parts.push("required".to_owned());
    }
    if variable.secret {
        parts.push("secret".to_owned());
    }
    if let Some(default) = &variable.default {
        parts.push(format!("default {default:?}"));
    }
    parts.extend(variable.description.clone());
    parts.join(", ")
}

/// Texts of an app come from anywhere: they must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;
    use crate::console::tests::silent;

    #[test]
    fn the_table_shows_what_an_app_may_use() {
        let text = render(&sample(), &silent());
        for line in [
            "shop 1.2.3",
            "  image              ghcr.io/me/shop:v1",
            "  size               2.01 KiB in 1 layer",
            "component cart",
            "  route              /cart/...",
            "  route              (private)",
            "  wasm               2.00 KiB",
            "  files              1 (2 B)",
            "  outbound hosts     https://api.example.com",
            "  key-value stores   default",
            "  sqlite databases   orders",
            "  ai models          llama2-chat",
            "  variables          key = {{ token }}",
            "  environment        MODE",
            "  token              secret",
            "  url                required",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_an_app_says_cannot_steer_the_terminal() {
        let mut report = sample();
        report.name = "a\u{1b}[2Jb".into();
        assert!(!render(&report, &silent()).contains('\u{1b}'));
    }
}
