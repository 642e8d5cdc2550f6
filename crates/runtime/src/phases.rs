//! How long each step of a start took.

use std::time::Instant;

use control::Phase;

/// Measures steps that follow one another.
#[derive(Debug)]
pub struct Phases {
    done: Vec<Phase>,
    begun: Instant,
}

impl Default for Phases {
    fn default() -> Self {
        Self { done: Vec::new(), begun: Instant::now() }
    }
}

impl Phases {
    /// Ends the step that began with the last one's end. A step named before is
    /// added to.
    pub fn end(&mut self, name: &str) {
        let now = Instant::now();
        let micros = u64::try_from((now - self.begun).as_micros()).unwrap_or(u64::MAX);
        self.begun = now;
        match self.done.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => phase.micros = phase.micros.saturating_add(micros),
            None => self.done.push(Phase { name: name.to_owned(), micros }),
        }
    }

    /// All steps, in order.
    pub fn into_vec(self) -> Vec<Phase> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_reported_in_order_and_one_that_comes_twice_once() {
        let mut phases = Phases::default();
        for name in ["artifact", "compile", "load", "compile"] {
            phases.end(name);
        }
        let names: Vec<String> = phases.into_vec().into_iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["artifact", "compile", "load"]);
    }
}
