//! The types of triggers that are served.

use app::Problems;
use command_trigger::CommandTriggers;
use cron_trigger::CronTriggers;
use http_trigger::HttpTriggers;
use mqtt_trigger::MqttTriggers;
use redis_trigger::RedisTriggers;
use sqs_trigger::SqsTriggers;
use trigger::{Surroundings, TriggerType};

/// Makes one type of trigger from what surrounds the app.
type Configure = fn(&Surroundings<'_>) -> Result<Box<dyn TriggerType>, Problems>;

/// One line for each type.
const TYPES: &[Configure] = &[
    CommandTriggers::configure,
    CronTriggers::configure,
    HttpTriggers::configure,
    MqttTriggers::configure,
    RedisTriggers::configure,
    SqsTriggers::configure,
];

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
            // Several types may read the same variable.
            Err(found) => {
                for problem in found.iter() {
                    if problems.iter().all(|known| known != problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    problems.into_result(types)
}
