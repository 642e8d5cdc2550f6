//! Better code for components that are being served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use host::InstanceState;
use wasmtime::component::InstancePre;

/// What new instances are made from, until something else takes its place.
#[derive(Debug)]
pub struct Replaceable<T>(RwLock<Arc<T>>);

impl<T> Replaceable<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// What it is now. Whoever has it keeps it, also when it is replaced.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `value` in its place for everyone who asks from now on.
    pub fn set(&self, value: T) {
        let value = Arc::new(value);
        let old = {
            let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, value)
        };
        // Not under the lock: the last owner unmaps code.
        drop(old);
    }
}

/// Has new instances of a component made from other code; the error completes
/// "component … ".
pub type Replace = Box<dyn Fn(&InstancePre<InstanceState>) -> Result<(), String> + Send + Sync>;

/// Who makes instances of which component, for as long as better code may come.
#[derive(Default)]
pub struct Replacements(Mutex<BTreeMap<String, Vec<Replace>>>);

impl Replacements {
    /// Remembers one who makes instances of `component`.
    pub fn add(&self, component: &str, replace: Replace) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(component.to_owned()).or_default().push(replace);
    }

    /// Has new instances of `component` made from `code`, which must be that of the
    /// same component; those that exist stay as they are. How many make some.
    ///
    /// # Errors
    /// A sentence that names the component. Those before the one that failed have
    /// taken the code, which does the same.
    pub fn replace(
        &self,
        component: &str,
        code: &InstancePre<InstanceState>,
    ) -> Result<usize, String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let makers = all.get(component).map(Vec::as_slice).unwrap_or_default();
        for replace in makers {
            replace(code).map_err(|error| format!("component {component:?} {error}"))?;
        }
        Ok(makers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_old_value_keeps_it_and_who_asks_gets_the_new_one() {
        let place = Replaceable::new(1);
        let old = place.get();
        place.set(2);
        assert_eq!((*old, *place.get()), (1, 2));
    }

    #[test]
    fn the_old_value_goes_with_its_last_owner() {
        let place = Replaceable::new(1);
        let old = Arc::downgrade(&place.get());
        place.set(2);
        assert!(old.upgrade().is_none());
    }
}
