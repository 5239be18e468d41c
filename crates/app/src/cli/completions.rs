//! `completions`: what a shell offers behind `tinyice`.
//!
//! Contract: made from the tables that are parsed by, so that it cannot fall behind.

use std::fmt::Write as _;

use config::Config;

use super::{FAILED, Flags, OK, Terminal, flags::FLAGS, help::COMMANDS};

pub(super) fn print(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let text = match flags
        .arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["bash"] => bash(),
        ["zsh"] => zsh(),
        ["fish"] => fish(),
        _ => {
            terminal.say("Usage: completions <bash|zsh|fish>");
            return FAILED;
        }
    };
    let _ = terminal.out.write_all(text.as_bytes());
    OK
}

fn commands() -> String {
    COMMANDS
        .iter()
        .map(|command| command.name)
        .collect::<Vec<_>>()
        .join(" ")
}

fn bash() -> String {
    let flags: Vec<String> = FLAGS.iter().map(|flag| format!("-{}", flag.name)).collect();
    format!(
        r#"_tinyice() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    case "$before" in
        -config|-log-file|-auth-log-file|-pid-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        -data-dir) COMPREPLY=($(compgen -d -- "$word")); return ;;
        -log-format) COMPREPLY=($(compgen -W "text json journal" -- "$word")); return ;;
        -log-level) COMPREPLY=($(compgen -W "debug info warn error" -- "$word")); return ;;
        get|set) COMPREPLY=($(compgen -W "{keys}" -- "$word")); return ;;
        completions) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")); return ;;
    esac
    case "$word" in
        -*) COMPREPLY=($(compgen -W "{flags}" -- "$word")) ;;
        *) COMPREPLY=($(compgen -W "{commands}" -- "$word")) ;;
    esac
}}
complete -F _tinyice tinyice
"#,
        keys = Config::KEYS.join(" "),
        flags = flags.join(" "),
        commands = commands(),
    )
}

fn zsh() -> String {
    let mut text = String::from("#compdef tinyice\n_tinyice() {\n    local -a commands\n    commands=(\n");
    for command in COMMANDS {
        let _ = writeln!(text, "        '{}:{}'", command.name, command.help);
    }
    text.push_str("    )\n    _arguments \\\n");
    for flag in FLAGS {
        let action = match (flag.name, flag.value) {
            (_, None) => "",
            ("config" | "log-file" | "auth-log-file" | "pid-file", _) => ":file:_files",
            ("data-dir", _) => ":directory:_files -/",
            ("log-format", _) => ":format:(text json journal)",
            ("log-level", _) => ":level:(debug info warn error)",
            (_, Some(_)) => ":value:",
        };
        let help = flag.help.replace(':', "\\:");
        let _ = writeln!(text, "        '-{}[{help}]{action}' \\", flag.name);
    }
    let _ = writeln!(text, "        '1:command:{{_describe command commands}}' \\");
    let _ = writeln!(text, "        '2:key:({})'", Config::KEYS.join(" "));
    text.push_str("}\ncompdef _tinyice tinyice\n");
    text
}

fn fish() -> String {
    let mut text = String::from("complete -c tinyice -f\n");
    for command in COMMANDS {
        let _ = writeln!(
            text,
            "complete -c tinyice -n __fish_use_subcommand -a {} -d '{}'",
            command.name, command.help
        );
    }
    for flag in FLAGS {
        let value = match (flag.name, flag.value) {
            (_, None) => "",
            ("config" | "log-file" | "auth-log-file" | "pid-file", _) => " -r -F",
            ("data-dir", _) => " -r -a '(__fish_complete_directories)'",
            ("log-format", _) => " -r -a 'text json journal'",
            ("log-level", _) => " -r -a 'debug info warn error'",
            (_, Some(_)) => " -r",
        };
        let _ = writeln!(
            text,
            "complete -c tinyice -o {}{value} -d '{}'",
            flag.name, flag.help
        );
    }
    let keys = Config::KEYS.join(" ");
    let _ = writeln!(
        text,
        "complete -c tinyice -n '__fish_seen_subcommand_from get set' -a '{keys}'"
    );
    let _ = writeln!(
        text,
        "complete -c tinyice -n '__fish_seen_subcommand_from completions' -a 'bash zsh fish'"
    );
    text
}
