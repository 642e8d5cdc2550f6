//! The types of triggers that are served.

use app::Problems;
use command_trigger::CommandTriggers;
use http_trigger::HttpTriggers;
use trigger::{Surroundings, TriggerType};

/// Makes one type of trigger from what surrounds the app.
type Configure = fn(&Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems>;

/// One line for each type.
const TYPES: &[Configure] = &[CommandTriggers::configure, HttpTriggers::configure];

/// All types of triggers, as what surrounds an app says.
///
/// # Errors
/// Every variable of the environment that cannot be used.
pub fn configure(surroundings: &Surroundings<'_>) -> Result<Vec<Box<dyn TriggerType>>, Problems> {
    let mut problems = Problems::default();
    let mut types = Vec::new();
    for configure in TYPES {
        match configure(surroundings) {
            Ok(configured) => types.push(configured),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    problems.into_result(types)
}
