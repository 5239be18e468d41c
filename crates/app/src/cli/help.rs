//! The usage text and the overview.
//!
//! Contract: flags and subcommands are listed from the tables that are parsed by.

use std::io::Write;

use super::{OK, Terminal, USAGE, flags::FLAGS};

/// A subcommand as help and completions show it.
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) arguments: &'static str,
    pub(super) help: &'static str,
}

const fn command(name: &'static str, arguments: &'static str, help: &'static str) -> Command {
    Command {
        name,
        arguments,
        help,
    }
}

/// Every subcommand.
pub(super) const COMMANDS: &[Command] = &[
    command("version", "", "print the version"),
    command("help", "", "print this overview"),
    command("get", "[-json] <key>", "print a value of the configuration"),
    command("set", "<key> <value>", "change a value of the configuration"),
    command("dump-config", "[-secrets]", "print the whole configuration"),
    command(
        "check",
        "",
        "check the configuration, every problem on its own line",
    ),
    command(
        "reload",
        "",
        "tell the running server to read its configuration again",
    ),
    command("healthcheck", "", "ask the running server whether it is ready"),
    command(
        "top",
        "[seconds] [looks]",
        "watch mounts, listeners, rates and lag of the running server",
    ),
    command("hash-password", "", "read a password, print its hash"),
    command("reset-password", "<user>", "give a user a new password"),
    command(
        "completions",
        "<shell>",
        "print completions for bash, zsh or fish",
    ),
];

/// The usage text.
pub(super) fn usage(out: &mut dyn Write) {
    let mut text = String::from("Usage of TinyIce:\n");
    for flag in FLAGS {
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let default = if flag.default.is_empty() {
            String::new()
        } else {
            format!(" (default {:?})", flag.default)
        };
        text.push_str(&format!(
            "  -{}{value}\n    \t{}{default}\n",
            flag.name, flag.help
        ));
    }
    text.push_str(&subcommands());
    let _ = out.write_all(text.as_bytes());
}

/// The overview, as a result.
pub(super) fn print(terminal: &mut Terminal<'_>) -> u8 {
    terminal.say("TinyIce, a live streaming server\n\nUsage: tinyice [flags] [subcommand]\n");
    terminal.say("Without a subcommand the server starts. A key may be dotted: ingest.rtmp_enabled\n");
    usage(terminal.out);
    OK
}

/// A word that is no subcommand.
pub(super) fn unknown(word: &str, terminal: &mut Terminal<'_>) -> u8 {
    terminal.complain(format_args!("unknown command {word:?}"));
    if config::parse_bool(word).is_some() {
        terminal.complain("a boolean flag takes its value with =, for example -json-logs=true");
    } else if let Some(near) = config::nearest(word, COMMANDS.iter().map(|command| command.name)) {
        terminal.complain(format_args!("did you mean {near:?}?"));
    } else {
        terminal.complain("'tinyice help' lists the commands");
    }
    USAGE
}

fn subcommands() -> String {
    let mut text = String::from("Subcommands:\n");
    for command in COMMANDS {
        let head = format!("{} {}", command.name, command.arguments);
        text.push_str(&format!("  {}\n    \t{}\n", head.trim_end(), command.help));
    }
    text
}
