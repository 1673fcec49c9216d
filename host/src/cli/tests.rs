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

#[test]
fn the_commands_of_the_guide_are_commands() {
    let guide = include_str!("../../../docs/guide/dead-letters.md");
    let commands: Vec<&str> = guide.lines().filter(|line| line.starts_with("keyway ")).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let words = command.split(" > ").next().unwrap().split(' ').map(|word| word.trim_matches('\''));
        Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
}
