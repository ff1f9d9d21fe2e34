//! `fairlead-server config`: the settings that count, and where each comes from.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use super::say;
use crate::settings::Settings;
use crate::store::redact;

/// Prints all settings as a file of environment variables has them. What may hold a secret is shown without it.
pub fn show(matches: &ArgMatches) {
    for line in lines(matches) {
        say(line);
    }
}

fn lines(matches: &ArgMatches) -> Vec<String> {
    let known = Settings::augment_args(Command::new("serve"));
    let line = |setting: &clap::Arg| {
        let id = setting.get_id().as_str();
        let name = setting.get_env()?.to_string_lossy();
        let values = matches.get_raw(id).into_iter().flatten().map(std::ffi::OsStr::to_string_lossy);
        let mut value = values.collect::<Vec<_>>().join(",");
        if setting.is_hide_env_values_set() {
            value = redact(&value);
        }
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            Some(_) => "default",
            None => "not set",
        };
        Some(format!("{:<60} # {source}", format!("{name}={value}")))
    };
    known.get_arguments().filter_map(line).collect()
}
