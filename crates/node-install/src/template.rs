//! Templates of k3s and RKE2, from which they make containerd's configuration.
//!
//! A template is not TOML, so it is edited as text: our part stands between two
//! lines of its own.

const BEGIN: &str = "# spinlet: begin; `spinlet uninstall` removes this part";
const END: &str = "# spinlet: end";
/// What a template begins with that changes nothing by itself.
const BASE: &str = "{{ template \"base\" . }}\n";

/// The template with the handlers in it. `tables` is what is added.
pub(crate) fn with(template: Option<&str>, tables: &str) -> String {
    let rest = without(template.unwrap_or(BASE));
    let separator = if rest.is_empty() || rest.ends_with('\n') { "" } else { "\n" };
    format!("{rest}{separator}{BEGIN}\n{}\n{END}\n", tables.trim_end())
}

/// The template without our part.
pub(crate) fn without(template: &str) -> String {
    let Some((before, after)) = template.split_once(BEGIN) else { return template.to_owned() };
    let after = after.split_once(END).map_or("", |(_, after)| after);
    format!("{before}{}", after.strip_prefix('\n').unwrap_or(after))
}

/// Whether our part is in a template.
pub(crate) fn is_in(template: &str) -> bool {
    template.contains(BEGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_template_keeps_what_the_distribution_writes() {
        assert_eq!(
            with(None, "[a]\n"),
            format!("{{{{ template \"base\" . }}}}\n{BEGIN}\n[a]\n{END}\n")
        );
    }

    #[test]
    fn our_part_is_replaced_and_removed_without_a_trace() {
        let own = "{{ template \"base\" . }}\n[mine]\nx = 1\n";
        let once = with(Some(own), "[a]");
        let twice = with(Some(&once), "[b]");
        assert!(twice.contains("[b]") && !twice.contains("[a]"));
        assert_eq!(without(&twice), own);
        assert_eq!(without(own), own);
    }
}
