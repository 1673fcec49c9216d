use clap::{CommandFactory as _, Parser as _};

use super::*;

/// What every command says of itself. The width is fixed, so that no terminal changes it.
#[test]
fn help_of_every_command() {
    let mut command = Arguments::command().term_width(120);
    command.build();
    insta::assert_snapshot!("keyway", command.render_help());
    let names: Vec<String> =
        command.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let help = command.find_subcommand_mut(&name).unwrap().render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(format!("keyway-{name}"), help.join("\n"));
    }
}

#[test]
fn arguments_are_consistent() {
    Arguments::command().debug_assert();
    for wrong in [&["keyway"][..], &["keyway", "runn"], &["keyway", "try", "order"], &["keyway", "route"]] {
        assert_eq!(Arguments::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
}
