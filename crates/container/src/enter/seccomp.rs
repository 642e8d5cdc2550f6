//! From `linux.seccomp` to kernel filters.
//!
//! A spec may name several actions, a filter of the `seccompiler` crate has one.
//! So one filter allows everything that is listed with an action of its own, and
//! one more for each such action narrows that. The kernel applies the most
//! restrictive verdict of all filters.
//!
//! Stricter than the spec where that costs a Spin app nothing: system calls of
//! other architectures than the node's end the process, killing a thread kills
//! the process, and `no_new_privs` is always set.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::EnterError;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Compiles the filters of a spec, in the order in which to install them.
///
/// # Errors
/// Actions that need another process (notify, trace) are refused, and so is what
/// the kernel would not take.
pub(super) fn compile(spec: &LinuxSeccomp) -> Result<Vec<BpfProgram>, EnterError> {
    if spec.listener_path().is_some() {
        return Err(refused("a seccomp listener is not supported"));
    }
    let default = action(spec.default_action(), spec.default_errno_ret())?;
    let mut listed = Rules::new();
    let mut by_action: Vec<(SeccompAction, Rules)> = Vec::new();
    for entry in spec.syscalls().iter().flatten() {
        let wanted = action(entry.action(), entry.errno_ret())?;
        if wanted == default {
            continue;
        }
        add(&mut listed, entry)?;
        if wanted == SeccompAction::Allow {
            continue;
        }
        if !by_action.iter().any(|(known, _)| *known == wanted) {
            by_action.push((wanted.clone(), Rules::new()));
        }
        for (_, rules) in by_action.iter_mut().filter(|(known, _)| *known == wanted) {
            add(rules, entry)?;
        }
    }
    let mut programs = Vec::new();
    for (matching, rules) in by_action {
        programs.push(program(rules, SeccompAction::Allow, matching)?);
    }
    if default != SeccompAction::Allow {
        programs.push(program(listed, default, SeccompAction::Allow)?);
    }
    Ok(programs)
}

/// Installs compiled filters for the calling thread and all it will start.
pub(super) fn install(programs: &[BpfProgram]) -> Result<(), EnterError> {
    programs.iter().try_for_each(|program| {
        seccompiler::apply_filter(program)
            .map_err(|source| EnterError::Seccomp { attempt: "install", source })
    })
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, EnterError> {
    let failed = |source| EnterError::Seccomp { attempt: "compile", source };
    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(error.into()))?;
    SeccompFilter::new(rules, otherwise, matching, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(|error| failed(error.into()))
}

fn add(rules: &mut Rules, entry: &LinuxSyscall) -> Result<(), EnterError> {
    let alternatives = alternatives(entry.args().as_deref().unwrap_or_default())?;
    for name in entry.names() {
        // Profiles list the names of all architectures; those of others can do
        // nothing here.
        let Ok(number) = syscalls::Sysno::from_str(name) else { continue };
        let number = i64::from(number.id());
        if alternatives.is_empty() {
            // No rule means: whatever the arguments.
            rules.insert(number, Vec::new());
        } else {
            match rules.get_mut(&number) {
                Some(known) if known.is_empty() => {}
                Some(known) => known.extend(alternatives.iter().cloned()),
                None => {
                    rules.insert(number, alternatives.clone());
                }
            }
        }
    }
    Ok(())
}

/// Conditions on different arguments must all hold; conditions on the same one
/// are alternatives, as in other OCI runtimes.
fn alternatives(arguments: &[LinuxSeccompArg]) -> Result<Vec<SeccompRule>, EnterError> {
    let conditions: Vec<SeccompCondition> =
        arguments.iter().map(condition).collect::<Result<_, _>>()?;
    let mut indices: Vec<usize> = arguments.iter().map(LinuxSeccompArg::index).collect();
    indices.sort_unstable();
    let repeated = indices.windows(2).any(|pair| pair.first() == pair.last());
    let groups: Vec<Vec<SeccompCondition>> = if conditions.is_empty() {
        Vec::new()
    } else if repeated {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    };
    groups.into_iter().map(|group| SeccompRule::new(group).map_err(backend)).collect()
}

fn condition(argument: &LinuxSeccompArg) -> Result<SeccompCondition, EnterError> {
    let value = argument.value();
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, value),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, value),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, value),
        LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, value),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, value),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (SeccompCmpOp::MaskedEq(value), argument.value_two().unwrap_or(0))
        }
    };
    let index = u8::try_from(argument.index())
        .map_err(|_| refused("a seccomp rule is about an argument that no system call has"))?;
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value).map_err(backend)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<SeccompAction, EnterError> {
    match action {
        LinuxSeccompAction::ScmpActAllow => Ok(SeccompAction::Allow),
        LinuxSeccompAction::ScmpActLog => Ok(SeccompAction::Log),
        LinuxSeccompAction::ScmpActTrap => Ok(SeccompAction::Trap),
        LinuxSeccompAction::ScmpActErrno => {
            let default = Errno::PERM.raw_os_error().unsigned_abs();
            Ok(SeccompAction::Errno(errno.unwrap_or(default)))
        }
        // A runtime that loses one thread hangs; it is to end instead.
        LinuxSeccompAction::ScmpActKill
        | LinuxSeccompAction::ScmpActKillThread
        | LinuxSeccompAction::ScmpActKillProcess => Ok(SeccompAction::KillProcess),
        LinuxSeccompAction::ScmpActNotify | LinuxSeccompAction::ScmpActTrace => {
            Err(refused("the seccomp actions notify and trace are not supported"))
        }
    }
}

fn refused(what: &str) -> EnterError {
    EnterError::Configuration(what.to_owned())
}

fn backend(error: seccompiler::BackendError) -> EnterError {
    EnterError::Seccomp { attempt: "compile", source: error.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile_json(spec: Value) -> Result<Vec<BpfProgram>, EnterError> {
        compile(&serde_json::from_value(spec).unwrap())
    }

    /// Runs `test` in a thread with the filters of a spec.
    fn under(spec: Value, test: fn() -> String) -> String {
        let programs = compile_json(spec).unwrap();
        std::thread::spawn(move || {
            install(&programs).unwrap();
            test()
        })
        .join()
        .unwrap()
    }

    fn name_and_directory() -> String {
        let renamed = rustix::thread::set_name(c"renamed").map_err(Errno::raw_os_error);
        let made = rustix::fs::mkdir("/nonexistent/a", rustix::fs::Mode::RWXU);
        format!("{renamed:?} {:?}", made.map_err(Errno::raw_os_error))
    }

    #[test]
    fn a_list_of_exceptions_from_allowed_is_enforced_with_its_errno() {
        let spec = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat", "arm_only_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        });
        assert_eq!(under(spec, name_and_directory), "Ok(()) Err(38)");
    }

    #[test]
    fn of_several_actions_for_a_call_the_most_restrictive_counts() {
        let spec = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"},
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            ],
        });
        assert_eq!(under(spec, name_and_directory), "Ok(()) Err(1)");
    }

    #[test]
    fn a_rule_about_arguments_leaves_other_arguments_alone() {
        // 15 is PR_SET_NAME.
        let spec = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": ["prctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
                "args": [{"index": 0, "value": 15, "op": "SCMP_CMP_EQ"}],
            }],
        });
        assert_eq!(under(spec.clone(), name_and_directory), "Err(7) Err(2)");
        let no_new_privs = || format!("{:?}", rustix::thread::no_new_privs());
        assert_eq!(under(spec, no_new_privs), "Ok(true)");
    }

    #[test]
    fn a_list_of_allowed_calls_keeps_the_errno_of_single_ones() {
        let programs = compile_json(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ],
        }));
        assert_eq!(programs.unwrap().len(), 2);
    }

    #[test]
    fn actions_that_need_another_process_are_refused() {
        for action in ["SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE"] {
            let spec = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": action}],
            });
            assert!(compile_json(spec).is_err(), "{action}");
        }
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives_and_on_several_must_all_hold() {
        let rules = |args: Value| {
            let args: Vec<LinuxSeccompArg> = serde_json::from_value(args).unwrap();
            alternatives(&args).unwrap().len()
        };
        let arg = |index: u32| json!({"index": index, "value": 1, "op": "SCMP_CMP_EQ"});
        assert_eq!(rules(json!([])), 0);
        assert_eq!(rules(json!([arg(0), arg(1)])), 1);
        assert_eq!(rules(json!([arg(0), arg(0)])), 2);
    }
}
